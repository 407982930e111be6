/** Counts that two nodes tell, while both write. */
import type { Counts } from '../../utils/protocol';
import type { TestClient } from '../support/client';
import { MONGODB_URL, REDIS_URL, startCluster } from '../support/cluster';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { seededRandom } from '../support/random';
import { range, type TestService } from '../support/service';

const ROUNDS = 12;
const SENDS_PER_ROUND = 6;

interface Place {
  readonly service: TestService;
  readonly client: TestClient;
}

async function open(): Promise<[Place, Place]> {
  const [one, other] = await startCluster();
  if (one === undefined || other === undefined) throw new Error('two nodes are needed');
  await one.api.post('/topics').send({ name: 'news', isPrivate: false }).expect(201);
  await one.api.post('/topics/news/members').send({ userId: 'anna' }).expect(200);
  const placed = async (service: TestService, device: string) => {
    const client = await service.connect('anna', { device });
    await client.next('sync:done');
    return { service, client };
  };
  return [await placed(one, 'phone'), await placed(other, 'laptop')];
}

const asAnna = ({ service }: Place) => `Bearer ${service.token('anna')}`;

async function stored(place: Place): Promise<Counts> {
  const { body } = await place.service.anonymous.get('/inbox/counts').set('Authorization', asAnna(place)).expect(200);
  return body as Counts;
}

/** What the node tells with a message that changes nothing. */
async function told({ service, client }: Place): Promise<Counts> {
  const message = { userId: 'anna', type: 'look', data: 1, persist: false };
  const { body } = await service.api.post('/websocket/message/user').send(message).expect(200);
  const frame = await eventually(
    async () => client.allMessages.find(({ id }) => id === (body as { id: string }).id),
    (found) => found !== undefined,
  );
  return (frame as unknown as { counts: Counts }).counts;
}

/** Both nodes have heard of everything, and count what is stored. */
async function expectCounted(places: readonly Place[]): Promise<void> {
  for (const place of places) {
    await eventually(
      async () => [await told(place), await stored(place)],
      ([one, other]) => JSON.stringify(one) === JSON.stringify(other),
    );
  }
  for (const { service } of places) await service.send('anna', [0]);
  const [first] = places;
  const expected = await stored(first as Place);
  for (const { client } of places) {
    await eventually(
      async () => client.allMessages.filter(({ topic }) => topic === '@anna').at(-1) as { counts?: Counts } | undefined,
      (last) => JSON.stringify(last?.counts) === JSON.stringify(expected),
    );
  }
}

describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
)('the counts that two nodes tell', () => {
  it('are those of the store when both have written at once', async () => {
    const random = seededRandom('counts');
    const places = await open();
    const ids: string[] = [];
    const anywhere = () => places[random.integer(0, 1)] as Place;
    const send = async (path: string, fields: object) => {
      const { body } = await anywhere()
        .service.api.post(path)
        .send({ type: 'test', data: 1, ...fields })
        .expect(200);
      ids.push((body as { id: string }).id);
    };
    const change = async () => {
      const place = anywhere();
      const id = ids[random.integer(0, ids.length - 1)];
      const state = ['seen', 'read', 'unread', 'archived'][random.integer(0, 3)];
      const body = id === undefined || random.integer(1, 4) === 1 ? { all: true, state } : { ids: [id], state };
      await place.service.anonymous.patch('/inbox').set('Authorization', asAnna(place)).send(body);
    };
    const retract = () => anywhere().service.api.delete(`/messages/${ids[random.integer(0, ids.length - 1)]}`);
    for (const _round of range(1, ROUNDS)) {
      await Promise.all([
        ...range(1, SENDS_PER_ROUND).map(() => send('/websocket/message/user', { userId: 'anna' })),
        send('/websocket/message/user', { userId: 'anna', collapseKey: 'key' }),
        send('/websocket/message/broadcast', {}),
        send('/topics/news/messages', random.integer(1, 2) === 1 ? { exceptUserId: 'anna' } : {}),
        change(),
        change(),
        ...(ids.length === 0 ? [] : [retract()]),
      ]);
      await expectCounted(places);
    }
  });

  it('follow who leaves a topic and comes back, and what becomes of the topic', async () => {
    const places = await open();
    const [{ service }] = places;
    const say = () => service.api.post('/topics/news/messages').send({ type: 'test', data: 1 }).expect(200);
    await say();
    await expectCounted(places);
    await service.api.delete('/topics/news/members/anna').expect(200);
    await say();
    await expectCounted(places);
    await service.api.post('/topics/news/members').send({ userId: 'anna' }).expect(200);
    await say();
    await expectCounted(places);
    await service.api.delete('/topics/news').expect(200);
    await expectCounted(places);
  });
});
