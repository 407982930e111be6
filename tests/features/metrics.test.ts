/** GET /metrics: each metric moves when its event happens and not before, whatever the transport. */
import * as lmdb from 'lmdb';
import type { Draft, Store } from '../../services/storage/contract';
import type * as openStoreModule from '../../services/storage/engines';
import { newId } from '../../utils/ids';
import type { TestClient } from '../support/client';
import { StillClock } from '../support/clock';
import { eventually } from '../support/eventually';
import { exchange } from '../support/http';
import { parseMetrics, scrape } from '../support/metrics';
import type { PlainClient } from '../support/plain-client';
import { openRawPlain } from '../support/raw-plain';
import { openRawSocket } from '../support/raw-socket';
import { range, type ServiceOptions, startService, type TestService } from '../support/service';
import { type AnyClient, TRANSPORTS } from '../support/transports';
import { createTopic, sendTo } from './callers';

const mockStores: Store[] = [];

// What happens without a node's knowledge, as when another node has stored it, can only be done to its store.
jest.mock('../../services/storage/engines', () => {
  const { openStore } = jest.requireActual<typeof openStoreModule>('../../services/storage/engines');
  const openAndRecord: typeof openStore = async (...args) => {
    const store = await openStore(...args);
    mockStores.push(store);
    return store;
  };
  return { openStore: openAndRecord };
});

const LABELS: Readonly<Record<string, string>> = { 'Socket.IO': 'socketio', 'plain WebSocket': 'plain' };

interface Stage {
  readonly service: TestService;
  readonly clock: StillClock;
  /** Opens a client and waits until it is up to date. */
  enter(userId: string, device?: string): Promise<AnyClient>;
  /** Opens a client and does not wait. */
  begin(userId: string, device?: string): Promise<AnyClient>;
}

interface Event {
  readonly name: string;
  readonly env?: ServiceOptions['env'];
  /** What has to be there before; then one scrape is made. */
  readonly before?: (stage: Stage) => Promise<AnyClient>;
  readonly act: (stage: Stage, client: AnyClient) => Promise<unknown>;
  /** By how much series are greater afterwards. */
  readonly moves: Readonly<Record<string, number>>;
}

const anna = (stage: Stage) => stage.enter('anna', 'phone');

async function annaWithThree(stage: Stage): Promise<AnyClient> {
  const client = await anna(stage);
  await stage.service.send('anna', [1, 2, 3]);
  await client.messages(3);
  return client;
}

const EVENTS: Event[] = [
  {
    name: 'a connection',
    act: ({ enter }) => enter('anna'),
    moves: {
      tidings_users_connected: 1,
      tidings_catch_up_messages_count: 1,
      tidings_catch_up_messages_sum: 0,
      tidings_catch_up_duration_seconds_count: 1,
    },
  },
  {
    name: 'a message to a user who is there',
    before: anna,
    act: ({ service }, client) => Promise.all([service.send('anna', [1]), client.messages(1)]),
    moves: {
      'tidings_sends_total{destination="user"}': 1,
      'tidings_sends_total{destination="topic"}': 0,
      'tidings_sends_total{destination="broadcast"}': 0,
      'tidings_deliveries_total{mode="live"}': 1,
      'tidings_deliveries_total{mode="catch_up"}': 0,
      tidings_gaps_healed_total: 0,
    },
  },
  {
    name: 'a broadcast to all but one',
    before: async (stage) => {
      for (const userId of ['ben', 'clara', 'dora']) await stage.enter(userId);
      return anna(stage);
    },
    act: async ({ service }, client) => {
      const body = { type: 'test', data: 1, exceptUserId: 'dora' };
      await service.api.post('/websocket/message/broadcast').send(body).expect(200);
      await client.messages(1);
    },
    moves: { 'tidings_sends_total{destination="broadcast"}': 1, 'tidings_deliveries_total{mode="live"}': 3 },
  },
  {
    name: 'a message to a topic',
    before: async (stage) => {
      await createTopic(stage.service, 'news', { owner: 'anna' });
      return anna(stage);
    },
    act: async ({ service }, client) => {
      await service.api.post('/topics/news/messages').send({ type: 'test', data: 1 }).expect(200);
      await client.messages(1);
    },
    moves: { 'tidings_sends_total{destination="topic"}': 1, 'tidings_deliveries_total{mode="live"}': 1 },
  },
  {
    name: 'what is not stored, or was stored before',
    before: async (stage) => {
      const client = await anna(stage);
      await sendTo(stage.service.api, 'anna', 1, { id: 'known' });
      return client;
    },
    act: async ({ service }, client) => {
      await sendTo(service.api, 'anna', 1, { id: 'known' });
      await sendTo(service.api, 'anna', 2, { persist: false });
      await client.messages(2);
    },
    moves: { tidings_sends_total: 0, tidings_deliveries_total: 0 },
  },
  {
    name: 'three messages that waited',
    before: async (stage) => {
      const client = await stage.enter('ben');
      await stage.service.send('anna', [1, 2, 3]);
      return client;
    },
    act: anna,
    moves: {
      'tidings_deliveries_total{mode="catch_up"}': 3,
      'tidings_deliveries_total{mode="live"}': 0,
      tidings_catch_up_messages_sum: 3,
      'tidings_catch_up_messages_bucket{le="2"}': 0,
      'tidings_catch_up_messages_bucket{le="5"}': 1,
    },
  },
  {
    name: 'one acknowledgement of three messages',
    before: annaWithThree,
    act: (_stage, client) => client.call('ack', { topic: '@anna', seq: 3 }),
    moves: {
      tidings_acks_total: 1,
      tidings_send_to_ack_seconds_count: 3,
      // It was sent while this test ran.
      'tidings_send_to_ack_seconds_bucket{le="60"}': 3,
    },
  },
  {
    name: 'an acknowledgement that comes late',
    before: annaWithThree,
    act: ({ clock }, client) => {
      clock.shift(300_000);
      return client.call('ack', { topic: '@anna', seq: 2 });
    },
    moves: { tidings_send_to_ack_seconds_count: 2, 'tidings_send_to_ack_seconds_bucket{le="60"}': 0 },
  },
  {
    name: 'an acknowledgement again',
    before: async (stage) => {
      const client = await annaWithThree(stage);
      await client.call('ack', { topic: '@anna', seq: 3 });
      return client;
    },
    act: (_stage, client) => client.call('ack', { topic: '@anna', seq: 3 }),
    moves: { tidings_acks_total: 1, tidings_send_to_ack_seconds_count: 0 },
  },
  {
    name: 'an acknowledgement of what came in catch-up',
    before: async (stage) => {
      await stage.service.send('anna', [1, 2]);
      return anna(stage);
    },
    act: (_stage, client) => client.call('ack', { topic: '@anna', seq: 2 }),
    moves: { tidings_acks_total: 1, tidings_send_to_ack_seconds_count: 0 },
  },
  {
    name: 'a scheduled message, two minutes late',
    before: async (stage) => {
      const client = await anna(stage);
      await stage.service.api
        .post('/websocket/message/user')
        .send({ userId: 'anna', type: 'test', data: 1, delay: 60 })
        .expect(202);
      return client;
    },
    act: ({ clock }, client) => {
      clock.shift(180_000);
      return client.messages(1);
    },
    moves: {
      'tidings_sends_total{destination="user"}': 1,
      tidings_schedule_delay_seconds_count: 1,
      'tidings_schedule_delay_seconds_bucket{le="60"}': 0,
      'tidings_schedule_delay_seconds_bucket{le="300"}': 1,
    },
  },
  {
    name: 'a gap',
    before: anna,
    act: async ({ service }, client) => {
      await behindTheBackOf(service, '@anna');
      await service.send('anna', [2]);
      await client.messages(2);
    },
    moves: { tidings_gaps_healed_total: 1, 'tidings_deliveries_total{mode="live"}': 2 },
  },
  {
    name: 'an event that is refused',
    before: anna,
    act: (_stage, client) => client.call('no-such-thing'),
    moves: { 'tidings_refusals_total{code="unknown_event"}': 1, tidings_rate_limited_total: 0 },
  },
  {
    name: 'a reader that does not read',
    env: { MAX_BUFFERED_BYTES: '2000', MAX_MESSAGE_BYTES: '4000000', MAX_BODY_BYTES: '8000000' },
    before: (stage) => stage.enter('anna'),
    act: async ({ service }, client) => {
      pause(client);
      // More than the operating system takes for a reader that is paused.
      const data = 'x'.repeat(3_900_000);
      for (const _send of range(1, 4)) await sendTo(service.api, 'anna', data);
    },
    moves: {
      tidings_slow_consumers_total: 1,
      'tidings_closings_total{code="slow_consumer"}': 1,
      tidings_users_connected: -1,
    },
  },
  {
    name: 'a write',
    before: anna,
    act: ({ service }) => service.anonymous.get('/readyz').expect(200),
    moves: {
      tidings_store_flush_duration_seconds_count: 1,
      tidings_store_flush_writes_count: 1,
      tidings_store_flush_writes_sum: 1,
      tidings_store_flush_failures_total: 0,
    },
  },
];

/** Stores a message as another node does whose frame was lost. */
async function behindTheBackOf({ url }: TestService, topic: string): Promise<void> {
  const store = mockStores.at(-1);
  if (store === undefined) throw new Error(`no store was opened for ${url}`);
  const now = Date.now();
  const draft: Draft = {
    ...{ id: newId(now), isClientId: false, topic, type: 'test' },
    ...{ data: 1, timestamp: new Date(now).toISOString(), from: 'ben' },
  };
  await store.log.append(draft);
}

/** Takes no more bytes from the connection. */
function pause(client: AnyClient): void {
  const { transport } = (client as Partial<TestClient>).socket?.io?.engine ?? {};
  if (transport === undefined) (client as PlainClient).socket.pause();
  else (transport as unknown as { ws: { _socket: { pause(): void } } }).ws._socket.pause();
}

describe.each(TRANSPORTS)('over %s,', (transport, connect) => {
  async function setStage(env: ServiceOptions['env'] = {}): Promise<Stage> {
    const clock = new StillClock();
    const service = await startService({ env: { SHUTDOWN_TIMEOUT_MS: '100', ...env }, overrides: { clock } });
    const begin = (userId: string, device?: string) => connect(service, userId, device === undefined ? {} : { device });
    const enter = async (userId: string, device?: string) => {
      const client = await begin(userId, device);
      await client.next('sync:done');
      return client;
    };
    return { service, clock, begin, enter };
  }

  it.each(EVENTS)('counts $name', async ({ env, before, act, moves }) => {
    const stage = await setStage(env);
    const client = await (before ?? (({ enter }: Stage) => enter('bystander')))(stage);
    const start = await scrape(stage.service.url);
    await act(stage, client);
    const expected = Object.entries(moves).map(([series, by]) => [series, start.value(series) + by]);
    // What a client sees may come before the last count of it.
    await eventually(
      async () => {
        const end = await scrape(stage.service.url);
        return Object.keys(moves).map((series) => [series, end.value(series)]);
      },
      (values) => JSON.stringify(values) === JSON.stringify(expected),
    );
  });

  it('connections are counted by transport', async () => {
    const { service, enter } = await setStage();
    const counts = async () => {
      const now = await scrape(service.url);
      return ['socketio', 'plain'].map((name) => now.value(`tidings_connections{transport="${name}"}`));
    };
    expect(await counts()).toEqual([0, 0]);
    const clients = [await enter('anna'), await enter('anna')];
    expect(await counts()).toEqual(LABELS[transport] === 'socketio' ? [2, 0] : [0, 2]);
    for (const client of clients) client.close();
    await eventually(counts, (now) => now.every((count) => count === 0));
  });

  it('a catch-up is running as long as its pages are not acknowledged', async () => {
    const { service, begin } = await setStage();
    const messages = range(1, 201).map((n) => ({ userId: 'anna', type: 'test', data: n }));
    await service.api.post('/messages/batch').send({ messages }).expect(200);
    const client = await begin('anna', 'phone');
    await client.messages(200);
    expect((await scrape(service.url)).value('tidings_catch_ups_running')).toBe(1);
    await client.call('ack', { topic: '@anna', seq: 200 });
    await client.next('sync:done');
    const end = await scrape(service.url);
    expect(end.value('tidings_catch_ups_running')).toBe(0);
    expect(end.value('tidings_catch_up_messages_sum')).toBe(201);
  });
});

describe('while the disk takes its time', () => {
  async function startHeld() {
    const opening = jest.spyOn(lmdb, 'open');
    const service = await startService();
    const root = opening.mock.results.at(-1)?.value as lmdb.RootDatabase;
    opening.mockRestore();
    return { service, root };
  }

  it('writes and cursors are shown as waiting', async () => {
    const { service, root } = await startHeld();
    const client = await service.connect('anna', { device: 'phone' });
    await client.next('sync:done');
    await service.send('anna', [1]);
    await client.messages(1);
    const transaction = root.transaction.bind(root);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = jest.spyOn(root, 'transaction').mockImplementation(async (work) => {
      await held;
      return transaction(work);
    });
    const sends = Promise.all([sendTo(service.api, 'ben', 1), sendTo(service.api, 'ben', 2)]);
    await eventually(
      () => scrape(service.url),
      (now) => now.value('tidings_store_queued_writes') >= 2,
    );
    await client.call('ack', { topic: '@anna', seq: 1 });
    expect((await scrape(service.url)).value('tidings_cursors_unwritten')).toBe(1);
    slow.mockRestore();
    release();
    await sends;
    await eventually(
      () => scrape(service.url),
      (now) => now.value('tidings_store_queued_writes') + now.value('tidings_cursors_unwritten') === 0,
    );
  });

  it('and when it fails, that is counted', async () => {
    const { service, root } = await startHeld();
    const before = await scrape(service.url);
    jest.spyOn(root, 'transaction').mockRejectedValueOnce(new Error('input/output error'));
    await service.api.post('/websocket/message/user').send({ userId: 'anna', type: 'test', data: 1 }).expect(503);
    const after = await scrape(service.url);
    for (const series of ['tidings_store_flush_failures_total', 'tidings_store_flush_duration_seconds_count']) {
      expect([series, after.value(series) - before.value(series)]).toEqual([series, 1]);
    }
    expect(after.value('tidings_refusals_total{code="store_unavailable"}')).toBe(1);
  });
});

describe('what is answered', () => {
  it('is the text format, with the metrics of the process', async () => {
    const service = await startService();
    const { status, headers, text } = await exchange(service.url, { path: '/metrics' });
    expect([status, headers['content-type']]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    const { families } = parseMetrics(text);
    const names = families.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['nodejs_eventloop_lag_p99_seconds', 'process_resident_memory_bytes']),
    );
    // One is reported by the garbage collector, which may not have run yet.
    const silent = families.filter(({ samples }) => samples.length === 0).map(({ name }) => name);
    expect(silent.filter((name) => name !== 'nodejs_gc_duration_seconds')).toEqual([]);
    expect(names.filter((name) => name.startsWith('nodejs_active_'))).toEqual([]);
  });

  it('is of each service in a process that has several, with the process once in each', async () => {
    const [one, other] = [await startService(), await startService()];
    await one.send('anna', [1]);
    expect((await scrape(one.url)).value('tidings_sends_total')).toBe(1);
    expect((await scrape(other.url)).value('tidings_sends_total')).toBe(0);
  });

  it('has the places in use, with a token and without', async () => {
    const service = await startService();
    const places = async () => (await scrape(service.url)).value('tidings_places_taken');
    expect(await places()).toBe(0);
    const [socket, plain] = [await openRawSocket(service.url), await openRawPlain(service.url)];
    await (await service.connect('anna')).next('sync:done');
    expect(await places()).toBe(3);
    expect((await scrape(service.url)).value('tidings_taken{what="places"}')).toBe(3);
    expect((await scrape(service.url)).value('tidings_handshakes_waiting')).toBe(0);
    socket.send('41');
    plain.socket.destroy();
    await eventually(places, (count) => count === 1);
  });

  it('of a single node says that no other one is missing', async () => {
    const service = await startService();
    const now = await scrape(service.url);
    expect(now.value('tidings_cluster_live')).toBe(1);
    expect(now.value('tidings_cluster_nodes')).toBe(1);
    expect(now.value('tidings_cluster_outages_total')).toBe(0);
    expect(now.value('tidings_cluster_frames_received_total')).toBe(0);
  });
});
