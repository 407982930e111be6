/** What a send to a connected user asks of the database, in a steady state. */

import type { TestClient } from '../support/client';
import { StillClock } from '../support/clock';
import { MONGODB_URL, newDatabase, REDIS_URL, untilLive } from '../support/cluster';
import { type CountingProxy, startCountingProxy } from '../support/counting-proxy';
import { describeWith } from '../support/needs';
import { range, startService, type TestService } from '../support/service';
import { framesOf } from '../support/transports';

const SENDS = 20;

/** Commands by which the driver watches the server, and greets it on a new connection. */
const WATCHING = new Set(['hello', 'ismaster', 'ping']);
/** Batches that may ask, after a change of anything, before none does. */
const BATCHES = 5;

/** Nothing is done periodically: every command is one of a send. */
class IdleClock extends StillClock {
  override readonly every = () => ({ cancel: () => undefined });
}

interface Node {
  readonly service: TestService;
  readonly proxy: CountingProxy;
}

async function startNodes(count: number): Promise<Node[]> {
  const database = newDatabase();
  const clock = new IdleClock();
  const nodes: Node[] = [];
  for (const _node of range(1, count)) {
    const proxy = await startCountingProxy(database);
    const env = { STORE_URL: proxy.url, REDIS_URL: REDIS_URL ?? '' };
    nodes.push({ service: await startService({ env, overrides: { clock } }), proxy });
  }
  for (const { service } of nodes) await untilLive(service);
  return nodes;
}

/** What the nodes ask while `work` is done: the commands of each, without those by which the driver watches the server. */
async function asked(nodes: readonly Node[], work: () => Promise<unknown>): Promise<string[][]> {
  const before = nodes.map(({ proxy }) => proxy.seen.length);
  await work();
  return nodes.map(({ proxy }, index) =>
    proxy.seen
      .slice(before[index])
      .filter(({ name }) => !WATCHING.has(name))
      .map(({ name, collection }) => `${name} ${collection}`),
  );
}

const inserts = Array.from(range(1, SENDS), () => 'insert messages');

describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
)('a send to a connected user', () => {
  it.each([1, 2])('is one insert, whichever of %i nodes it is sent to', async (count) => {
    const nodes = await startNodes(count);
    const clients: TestClient[] = [];
    for (const { service } of nodes) {
      const client = await service.connect('anna');
      await client.next('sync:done');
      clients.push(client);
    }
    for (const [index, { service }] of nodes.entries()) {
      const send = async () => {
        await service.send('anna', range(1, SENDS));
        for (const client of clients) await client.messages(SENDS);
      };
      const steady = nodes.map((_node, other) => (other === index ? inserts : []));
      const batches: string[][][] = [];
      while (batches.length < BATCHES && JSON.stringify(batches.at(-1)) !== JSON.stringify(steady)) {
        batches.push(await asked(nodes, send));
      }
      expect(batches.at(-1)).toEqual(steady);
    }
    const [one] = nodes as [Node];
    const Authorization = `Bearer ${one.service.token('anna')}`;
    const { body } = await one.service.anonymous.get('/inbox/counts').set({ Authorization }).expect(200);
    for (const client of clients) {
      const last = framesOf(client).findLast(({ event }) => event === 'message');
      expect(last?.payload['counts']).toEqual(body);
    }
  });
});
