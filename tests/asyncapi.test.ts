/** The AsyncAPI document: valid, and what really goes over both sockets. */
import { Parser } from '@asyncapi/parser';
import { AsyncApi } from './support/asyncapi';
import { openClient, type Received, type TestClient } from './support/client';
import { ShiftedClock } from './support/clock';
import { connectPlain, type Frame, openPlain, type PlainClient } from './support/plain-client';
import { startService, type TestService, testToken } from './support/service';

describe('the AsyncAPI document', () => {
  it('is valid by its own parser, without a warning', async () => {
    const { url } = await startService();
    const { document, diagnostics } = await new Parser().parse(await (await fetch(`${url}/asyncapi.json`)).text());
    // A later version of the specification is no fault of the document.
    const faults = diagnostics.filter(({ code }) => code !== 'asyncapi-latest-version');
    expect(faults.map(({ path, message }) => `${path.join('/')}: ${message}`)).toEqual([]);
    expect(document?.version()).toBe('3.0.0');
  });

  it('names the address at which it was requested', async () => {
    const { url } = await startService();
    const { servers } = (await (await fetch(`${url}/asyncapi.json`)).json()) as { servers: unknown };
    const host = new URL(url).host;
    expect(servers).toMatchObject({
      socketIo: { host, protocol: 'ws', pathname: '/socket.io/' },
      plain: { host, protocol: 'ws' },
    });
  });
});

/** What both clients offer under the same names. */
interface Client {
  next<Payload = Record<string, unknown>>(event: string): Promise<Payload>;
  call(name: string, fields?: object): Promise<{ readonly ok: boolean }>;
  settle(): Promise<void>;
  close(): void;
}

interface User {
  readonly device?: string;
  readonly scope?: string;
}

/** One endpoint: how its clients connect, and how they make the same requests. */
interface Endpoint<OneClient extends Client> {
  readonly name: 'socketIo' | 'plain';
  readonly connect: (service: TestService, userId: string, user: User) => Promise<OneClient>;
  readonly words: {
    readonly send: (userId: string, message: object) => readonly [string, object];
    readonly say: (topic: string, message: object) => readonly [string, object];
    readonly create: (name: string) => readonly [string, object];
    readonly join: (name: string) => readonly [string, object];
    readonly leave: (name: string) => readonly [string, object];
    readonly invite: (name: string, userId: string) => readonly [string, object];
    readonly watch: (isOn: boolean) => readonly [string, object?];
    readonly refresh: readonly [string, object];
  };
  /** The service's events so far: name, payload, and the second argument. */
  readonly events: (client: OneClient) => (readonly [string, unknown, unknown?])[];
  /** The names on the wire of a client's request, and of its answer. */
  readonly request: (name: string, fields: object | undefined) => unknown;
  readonly reply: (reply: { readonly ok: boolean }) => { readonly ok: boolean };
}

const SOCKET_IO: Endpoint<TestClient> = {
  name: 'socketIo',
  connect: (service, userId, user) => service.connect(userId, user),
  words: {
    send: (to, message) => ['message', { to, ...message }],
    say: (topic, message) => ['message', { topic, ...message }],
    create: (name) => ['topic:create', { name }],
    join: (name) => ['topic:join', { name }],
    leave: (name) => ['topic:leave', { name }],
    invite: (name, userId) => ['topic:invite', { name, userId }],
    watch: (isOn) => [isOn ? 'presence:subscribe' : 'presence:unsubscribe'],
    refresh: ['auth:refresh', { token: testToken('anna') }],
  },
  events: ({ received }) => received.filter(isFromService).map(({ event, args }) => [event, args[0], args[1]]),
  request: (_name, fields) => fields ?? null,
  reply: (reply) => reply,
};

/** What the client reports itself is not on the wire. */
function isFromService({ event }: Received): boolean {
  return event !== 'disconnect' && event !== 'connect_error';
}

const PLAIN: Endpoint<PlainClient> = {
  name: 'plain',
  connect: ({ url }, userId, user) => connectPlain(url, userId, user),
  words: {
    send: (userId, message) => ['message', { topic_name: `@${userId}`, ...message }],
    say: (topic_name, message) => ['message', { topic_name, ...message }],
    create: (topic_name) => ['create', { topic_name }],
    join: (topic_name) => ['subscribe', { topic_name }],
    leave: (topic_name) => ['unsubscribe', { topic_name }],
    invite: (topic_name, username) => ['invite', { topic_name, username }],
    watch: (on) => ['presence', { on }],
    refresh: ['auth', { token: testToken('anna') }],
  },
  // Replies are checked where they are requested.
  events: ({ received }) =>
    received.filter(({ event }) => event !== 'reply').map((frame: Frame) => [frame.event, frame]),
  request: (action, fields) => ({ action, ref: 'a', ...fields }),
  reply: (reply) => ({ event: 'reply', ref: 'a', ...reply }),
};

/** Clients of one endpoint: everything that they request and receive is compared with the document. */
class Checked<OneClient extends Client> {
  readonly asked = new Set<string>();
  readonly #clients: OneClient[] = [];

  private constructor(
    readonly endpoint: Endpoint<OneClient>,
    readonly service: TestService,
    readonly api: AsyncApi,
  ) {}

  static async start<OneClient extends Client>(endpoint: Endpoint<OneClient>, clock: ShiftedClock) {
    const service = await startService({ env: { PRESENCE_GRACE_MS: '0' }, overrides: { clock } });
    return new Checked(endpoint, service, await AsyncApi.of(service.url, endpoint.name));
  }

  async connect(userId: string, user: User = {}): Promise<OneClient> {
    const client = await this.endpoint.connect(this.service, userId, user);
    this.#clients.push(client);
    await client.next('sync:done');
    return client;
  }

  watch(client: OneClient): void {
    this.#clients.push(client);
  }

  async ask(client: OneClient, name: string, fields?: object): Promise<Record<string, unknown>> {
    const { endpoint, api } = this;
    const reply = await client.call(name, fields);
    expect({ name, reply }).toMatchObject({ name, reply: { ok: true } });
    this.asked.add(name);
    const request = api.requestFaults(name, endpoint.request(name, fields));
    expect({ name, request, reply: api.replyFaults(name, endpoint.reply(reply)) }).toEqual({
      name,
      request: [],
      reply: [],
    });
    return reply as unknown as Record<string, unknown>;
  }

  /** Compares every event with the document. @returns the names of those that arrived. */
  check(): Set<string> {
    const seen = new Set<string>();
    for (const client of this.#clients) {
      for (const [event, payload, details] of this.endpoint.events(client)) {
        const faults = this.api.eventFaults(event, payload, details);
        expect({ event, payload, faults }).toEqual({ event, payload, faults: [] });
        seen.add(this.api.isKnown(event) ? event : 'custom');
      }
    }
    return seen;
  }
}

/** Everything that can be requested and received over either endpoint. */
async function goThrough<OneClient extends Client>(endpoint: Endpoint<OneClient>): Promise<Checked<OneClient>> {
  const clock = new ShiftedClock();
  const checked = await Checked.start(endpoint, clock);
  const { service } = checked;
  const { words } = endpoint;
  const { api } = service;
  const anna = await checked.connect('anna', { device: 'phone' });
  const laptop = await checked.connect('anna', { device: 'laptop' });
  const ben = await checked.connect('ben');
  const chat = { type: 'chat', data: { text: 'one' } };

  await checked.ask(anna, ...words.watch(true));
  await anna.next('presence');
  const carl = await checked.connect('carl');
  await anna.next('presence:join');
  carl.close();
  await anna.next('presence:leave');
  await checked.ask(anna, ...words.watch(false));

  await checked.ask(ben, ...words.send('anna', { ...chat, id: 'm1' }));
  await checked.ask(ben, ...words.send('anna', { ...chat, persist: false }));
  await checked.ask(ben, ...words.send('anna', { ...chat, delay: 60 }));
  const shop = await checked.connect('shop', { scope: 'send' });
  await checked.ask(shop, ...words.send('anna', { ...chat, event: 'offer' }));
  await anna.next('offer');
  await checked.ask(anna, 'ack', { topic: '@anna', seq: 1 });
  await checked.ask(anna, 'state', { state: 'read', ids: ['m1'] });
  await laptop.next('state');
  await checked.ask(anna, 'state', { state: 'unread', topic: '@anna', upTo: 1 });
  await laptop.next('state');
  await checked.ask(anna, 'state', { state: 'archived', all: true });
  await laptop.next('state');
  await checked.ask(anna, 'history', { topic: '@anna' });

  await api.patch('/messages/nothing').send({ data: 1 }).expect(404);
  const update = { data: { text: 'uno' } };
  await api.patch('/messages/m1').send(update).expect(200);
  await anna.next('message:updated');
  await api.delete('/messages/m1').expect(200);
  await anna.next('message:removed');
  const collapsing = { userId: 'anna', ...chat, collapseKey: 'key' };
  await api.post('/websocket/message/user').send(collapsing).expect(200);
  await api.post('/websocket/message/user').send(collapsing).expect(200);
  await anna.next('message:removed');
  await api
    .post('/websocket/message/user')
    .send({ userId: 'anna', ...chat, ttl: 1 })
    .expect(200);
  clock.shift(2_000);
  await anna.next('message:removed');
  await api.post('/websocket/message/broadcast').send(chat).expect(200);

  await checked.ask(anna, ...words.create('news'));
  await checked.ask(ben, ...words.join('news'));
  await checked.ask(anna, ...words.invite('news', 'carl'));
  const added = await checked.connect('dan');
  await checked.ask(anna, ...words.invite('news', 'dan'));
  await added.next('topic:joined');
  await checked.ask(anna, ...words.say('news', chat));
  await checked.ask(anna, 'typing', { topic: 'news', typing: true });
  await ben.next('typing');
  await checked.ask(ben, ...words.leave('news'));
  await checked.ask(anna, ...words.refresh);
  await checked.ask(anna, 'ping');
  await anna.next('pong');

  await checked.ask(anna, ...words.send('ben', chat));
  await api.delete('/users/ben/data').expect(200);
  await ben.next('closing');
  const benAgain = await checked.connect('ben');
  await benAgain.next('sync:reset');
  await checked.ask(benAgain, 'logout');
  await benAgain.next('closing');
  return checked;
}

describe('what goes over Socket.IO', () => {
  it('is as documented', async () => {
    const checked = await goThrough(SOCKET_IO);
    const { service, api } = checked;
    const dora = await checked.connect('dora');
    await checked.ask(dora, 'topic:list');
    await checked.ask(dora, 'message', { message: { any: 'value' } });
    await dora.next('messageReceived');
    await checked.ask(dora, 'message', { content: 'echo' });
    await dora.next('message');
    dora.socket.emit('ack', { topic: 1 });
    await dora.next('error');
    const token = testToken('dora', { lifetimeSeconds: 30 });
    const short = openClient(service.url, { auth: { token } });
    checked.watch(short);
    await short.next('auth:expiring');
    expect([...checked.check()].sort()).toEqual(api.names('server').sort());
    expect([...checked.asked].sort()).toEqual(api.names('client').sort());
  });

  it('is as documented where something is refused', async () => {
    const service = await startService();
    const api = await AsyncApi.of(service.url, 'socketIo');
    const client = await service.connect('anna');
    const bad = { to: 1, topic: 1, name: 1, typing: 1, token: 1, state: 1 };
    // An unexpected payload is ignored.
    for (const name of api.names('client').filter((event) => api.requestFaults(event, null).length > 0)) {
      const reply = await client.call(name, bad);
      const faults = { request: api.requestFaults(name, bad).length > 0, reply: api.replyFaults(name, reply) };
      expect({ name, ok: reply.ok, faults }).toEqual({ name, ok: false, faults: { request: true, reply: [] } });
    }
  });

  it('is as documented with AUTH_ERROR_EVENT', async () => {
    const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
    const api = await AsyncApi.of(service.url, 'socketIo');
    const client = openClient(service.url, { auth: { token: 'none' } });
    expect(api.eventFaults('error', await client.next('error'))).toEqual([]);
  });

  it('is compared closely: a field more or less is found', async () => {
    const { url } = await startService();
    const api = await AsyncApi.of(url, 'socketIo');
    const typing = { topic: 'news', userId: 'anna', typing: true };
    expect(api.eventFaults('typing', typing)).toEqual([]);
    expect(api.eventFaults('typing', { ...typing, more: 1 })).not.toEqual([]);
    expect(api.eventFaults('typing', { topic: 'news' })).not.toEqual([]);
    expect(api.requestFaults('ack', { topic: 'news' })).not.toEqual([]);
    expect(api.requestFaults('state', { state: 'read', ids: ['a'], all: true })).not.toEqual([]);
  });
});

describe('what goes over the plain endpoint', () => {
  it('is as documented', async () => {
    const checked = await goThrough(PLAIN);
    const { service, api } = checked;
    const dora = await checked.connect('dora');
    await checked.ask(dora, 'suscribe', { topic_name: 'news' });
    await checked.ask(dora, 'topic:list', { limit: 10 });
    await checked.ask(dora, 'message', { topic_name: 'news', content: 'Hello' });
    await checked.ask(dora, 'disconnect');
    const refused = openPlain(service.url, { path: '/ws?token=none' });
    checked.watch(refused);
    await refused.next('error');
    const token = testToken('dora', { lifetimeSeconds: 30 });
    const short = openPlain(service.url, { path: `/ws?token=${token}` });
    checked.watch(short);
    await short.next('auth:expiring');
    expect([...checked.check()].sort()).toEqual(api.names('server').sort());
    expect([...checked.asked].sort()).toEqual(api.names('client').sort());
  });

  it('is as documented where something is refused', async () => {
    const service = await startService();
    const api = await AsyncApi.of(service.url, 'plain');
    const client = await connectPlain(service.url, 'anna');
    const bad = { topic: 1, topic_name: 1, on: 1, typing: 1, token: 1, state: 1 };
    for (const name of api.names('client').filter((action) => isRefused(api, action, bad))) {
      const reply = await client.call(name, bad);
      expect({ name, ok: reply.ok, faults: api.replyFaults(name, PLAIN.reply(reply)) }).toEqual({
        name,
        ok: false,
        faults: [],
      });
      // An accepted frame: ten refusals in a row would end the connection.
      await client.settle();
    }
  });
});

function isRefused(api: AsyncApi, action: string, fields: object): boolean {
  return api.requestFaults(action, PLAIN.request(action, fields)).length > 0;
}
