/** Two nodes with contrary requests at once: the last frame that clients receive matches the store. */
import type { MessageState } from '../../utils/protocol';
import { MONGODB_URL, REDIS_URL, startCluster } from '../support/cluster';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { seededRandom } from '../support/random';
import { range, type TestService } from '../support/service';
import { framesOf, type Told, TRANSPORTS } from '../support/transports';

const describeCluster = describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
);

const ROUNDS = 15;

async function stateOf(service: TestService, id: string): Promise<MessageState> {
  const { body } = await service.anonymous
    .get('/inbox')
    .set('Authorization', `Bearer ${service.token('anna')}`)
    .expect(200);
  const item = (body.items as { id: string; state: MessageState }[]).find((one) => one.id === id);
  if (item === undefined) throw new Error('the message is not in the inbox');
  return item.state;
}

/** Every frame is a message with content, or an entry about one under its own event. */
function isWellTold({ event, payload }: Told): boolean {
  if (event === 'message') return payload['ref'] === undefined && payload['data'] !== null;
  if (event === 'message:updated') return typeof payload['ref'] === 'string' && payload['data'] !== null;
  return event !== 'message:removed' || typeof payload['reason'] === 'string';
}

describeCluster.each(TRANSPORTS)('two nodes and clients over %s', (_name, connect) => {
  async function open() {
    const services = await startCluster({ nodes: 2 });
    const clients = await Promise.all(
      services.map((service, index) => connect(service, 'anna', { device: `d${index}` })),
    );
    for (const client of clients) await client.next('sync:done');
    const at = (index: number) => services[index % 2] as TestService;
    return { clients, at };
  }

  it('read and unread at once: the last frame matches the inbox', async () => {
    const { clients, at } = await open();
    const [sent] = await at(0).send('anna', [1]);
    const id = sent?.id ?? '';
    const change = (index: number, state: string) =>
      at(index)
        .anonymous.patch('/inbox')
        .set('Authorization', `Bearer ${at(index).token('anna')}`)
        .send({ ids: [id], state })
        .expect(200);
    for (const round of range(1, ROUNDS)) {
      await Promise.all([change(round, 'read'), change(round + 1, 'unread')]);
      const expected = (await stateOf(at(round), id)) === 'read' ? 'read' : 'unread';
      for (const client of clients) {
        await eventually(
          async () => {
            await client.settle();
            return framesOf(client).findLast(({ event }) => event === 'state')?.payload['state'];
          },
          (state) => state === expected,
        );
      }
    }
  });

  it('change, retract and replace at once: each frame is a message, or an entry about one under its event', async () => {
    const { clients, at } = await open();
    const random = seededRandom('changes at two nodes');
    for (const round of range(1, ROUNDS)) {
      const send = (index: number, fields: object) =>
        at(index)
          .api.post('/websocket/message/user')
          .send({ userId: 'anna', type: 't', data: { round }, collapseKey: 'key', ...fields })
          .expect(200);
      const { body } = await send(round, {});
      const works = range(1, 5).map(async (n) => {
        const choice = random.integer(1, 10);
        const node = random.integer(0, 1);
        if (choice <= 6) await at(node).api.patch(`/messages/${body.id}`).send({ data: { round, n } });
        else if (choice === 7) await at(node).api.delete(`/messages/${body.id}`);
        else await send(node, { data: { n } });
      });
      await Promise.all(works);
    }
    const { body: last } = await at(0)
      .api.post('/websocket/message/user')
      .send({ userId: 'anna', type: 't', data: 'end' });
    for (const client of clients) {
      await eventually(
        async () => {
          await client.settle();
          return client.allMessages.at(-1)?.id;
        },
        (id) => id === last.id,
      );
      for (const told of framesOf(client)) expect([told, isWellTold(told)]).toEqual([told, true]);
    }
  });
});
