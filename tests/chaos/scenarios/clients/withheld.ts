/** Clients that read and never acknowledge: what is in flight is limited, and nothing of it remains. */
import { examine, type Findings } from '../../findings';
import { heapOf } from '../../heap';
import { WAYS, type Way } from '../../line';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { metricOf, sendMany } from '../../rest';
import type { Outcome, Scenario } from '../../scenario';
import { until } from '../../until';
import { comeBack, hasGot, placesOf, visit, written } from '../../visitor';

const PATIENCE_MS = 30_000;
const DEVICE = 'phone';
const WINDOW = 200;
const WAITING = 450;

/** More waits than may be in flight. It reads everything it receives, and acknowledges nothing until it is told to. */
async function withholdAcks(findings: Findings, node: ChaosNode, way: Way): Promise<void> {
  const userId = `anna, ${way}`;
  const topic = `@${userId}`;
  await (await comeBack(node, way, userId)).client.close();
  const places = await sendMany(node.url, userId, WAITING);
  const client = await visit(way, node.url, { userId, device: DEVICE });
  // The second time, it sends nothing new.
  for (const acked of [0, WINDOW, WINDOW]) {
    if (acked > 0) await client.client.call('ack', { topic, seq: acked });
    await hasGot(client, acked + WINDOW);
    // What is in flight arrives before the answer.
    await client.client.settle();
    await client.client.settle();
    findings.expectSame(
      placesOf(client),
      written(places.slice(0, acked + WINDOW)),
      `${userId} has got after ack ${acked}`,
    );
  }
  // What is sent now waits after what is not acknowledged, and costs no memory: it is in the store.
  const [live] = await sendMany(node.url, userId, 1);
  await client.client.settle();
  findings.expect(
    !placesOf(client).some((place) => place.endsWith(live?.id ?? '')),
    `${userId} got a message beyond its window`,
  );
  for (let acked = 0; acked < WAITING; ) {
    acked = client.client.allMessages.at(-1)?.seq ?? 0;
    await client.client.call('ack', { topic, seq: acked });
    await hasGot(client, Math.min(acked + WINDOW, WAITING + 1));
  }
  await client.client.next('sync:done');
  findings.expectSame(
    placesOf(client),
    written([...places, ...(live === undefined ? [] : [live])]),
    `${userId} has got in all`,
  );
  client.client.close();
}

const CYCLES = 40;
const REPEATS = 4;
/** Of one connection. Measured: some bytes. A session that is kept is more. */
const MAX_LEFT_BYTES = 3 * 1024;

/** Comes with a full window, and leaves silently, repeatedly: nothing of it remains in memory. */
async function comeAndGo(node: ChaosNode, way: Way, userId: string): Promise<void> {
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    const visitor = await visit(way, node.url, { userId, device: DEVICE });
    await hasGot(visitor, WINDOW);
    visitor.client.close();
  }
}

async function runNeverAcked(): Promise<Outcome> {
  const node = await startOne({ env: { NODE_OPTIONS: '--inspect=127.0.0.1:0' } });
  return examine([node], async (findings) => {
    await Promise.all(WAYS.map((way) => withholdAcks(findings, node, way)));
    const ways = WAYS.filter((way) => way !== 'polling');
    const users = ways.map((way) => ({ way, userId: `ben, ${way}` }));
    for (const { way, userId } of users) {
      await (await comeBack(node, way, userId)).client.close();
      await sendMany(node.url, userId, WINDOW + 1);
      await comeAndGo(node, way, userId);
    }
    // A warm-up grows once; a leak grows each time.
    const limit = users.length * CYCLES * MAX_LEFT_BYTES;
    let growth = Number.POSITIVE_INFINITY;
    for (let time = 0; time < REPEATS && growth > limit; time += 1) {
      await nobodyLeft(node);
      const before = await heapOf(node);
      await Promise.all(users.map(({ way, userId }) => comeAndGo(node, way, userId)));
      await nobodyLeft(node);
      growth = (await heapOf(node)) - before;
    }
    findings.expect(growth <= limit, `${users.length * CYCLES} connections left ${growth} bytes, ${REPEATS} times`);
    return { 'KiB left by connections that never acknowledge': Math.round(growth / 1024) };
  });
}

async function nobodyLeft(node: ChaosNode): Promise<void> {
  const open = async () => {
    const counts = ['socketio', 'plain'].map((name) => metricOf(node.url, `tidings_connections{transport="${name}"}`));
    const running = metricOf(node.url, 'tidings_catch_ups_running');
    return (await Promise.all([...counts, running])).join(' ');
  };
  await until('all connections are over', PATIENCE_MS, open, (counts) => counts === '0 0 0');
}

export const WITHHELD: readonly Scenario[] = [
  {
    id: 'F15',
    fault: 'a client never acknowledges',
    injected: `${WAITING} messages wait for a client that reads and sends nothing; others come with a full window and leave, ${2 * CYCLES} times`,
    expected: `never more than ${WINDOW} in flight, no leak, and everything in order once it acknowledges`,
    needs: [],
    tells: ['KiB left by connections that never acknowledge'],
    run: runNeverAcked,
  },
];
