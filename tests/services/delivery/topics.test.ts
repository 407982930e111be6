/** Named topics over Socket.IO: create, join, leave, invite, list, send; and who receives what. */
import { CATCH_UP_WINDOW_MESSAGES } from '../../../services/delivery/window';
import type { Problem } from '../../../utils/errors';
import type { Message, Reply } from '../../../utils/protocol';
import type { TestClient } from '../../support/client';
import { seededRandom } from '../../support/random';
import { range, startService, type TestService } from '../../support/service';

const ISO_TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

/** Opens a client and waits until it is up to date. */
async function open(service: TestService, userId: string, device?: string): Promise<TestClient> {
  const client = await service.connect(userId, device === undefined ? {} : { device });
  await client.next('sync:done');
  return client;
}

async function ok(client: TestClient, event: string, payload?: object): Promise<Record<string, unknown>> {
  const reply = await client.call(event, payload);
  if (!reply.ok) throw new Error(`${event} was refused: ${reply.error.detail}`);
  return reply;
}

async function refusal(client: TestClient, event: string, payload?: unknown): Promise<Problem> {
  const reply: Reply = await client.call(event, payload);
  if (reply.ok) throw new Error(`${event} was accepted`);
  return reply.error;
}

/** Says a number in a topic. @returns the `seq` it got. */
async function say(client: TestClient, topic: string, n: number): Promise<number> {
  return (await ok(client, 'message', { topic, type: 'test', data: { n } }))['seq'] as number;
}

function numberOf({ data }: Message): number {
  return (data as { n: number }).n;
}

function numbersIn(client: TestClient, topic: string): number[] {
  return client.allMessages.filter((message) => message.topic === topic).map(numberOf);
}

describe('the events', () => {
  it('topic:create answers with the topic', async () => {
    const service = await startService();
    const anna = await open(service, 'anna');
    const news = { name: 'news', isPrivate: false, owner: 'anna', createdAt: ISO_TIME, isMember: true };
    expect(await anna.call('topic:create', { name: 'news' })).toEqual({ ok: true, ...news });
    expect(await anna.call('topic:create', { name: 'secret', isPrivate: true })).toEqual({
      ok: true,
      ...news,
      name: 'secret',
      isPrivate: true,
    });
    const ben = await open(service, 'ben');
    for (const name of ['news', 'secret']) {
      expect(await refusal(ben, 'topic:create', { name })).toMatchObject({ code: 'topic_taken', status: 409 });
    }
  });

  it('topic:list shows the caller’s and the public ones', async () => {
    const service = await startService();
    const anna = await open(service, 'anna');
    const ben = await open(service, 'ben');
    expect(await ben.call('topic:list')).toEqual({ ok: true, topics: [], nextCursor: null });
    await ok(anna, 'topic:create', { name: 'news' });
    await ok(anna, 'topic:create', { name: 'hidden', isPrivate: true });
    await ok(ben, 'topic:create', { name: 'own', isPrivate: true });
    expect(await ben.call('topic:list')).toEqual({
      ok: true,
      topics: [
        { name: 'news', isPrivate: false, owner: 'anna', createdAt: ISO_TIME, isMember: false },
        { name: 'own', isPrivate: true, owner: 'ben', createdAt: ISO_TIME, isMember: true },
      ],
      nextCursor: null,
    });
  });

  it('topic:join, topic:invite and topic:leave answer as over HTTP', async () => {
    const service = await startService();
    const [anna, ben] = [await open(service, 'anna'), await open(service, 'ben')];
    await ok(anna, 'topic:create', { name: 'news' });
    await ok(anna, 'topic:create', { name: 'secret', isPrivate: true });
    for (const _again of [1, 2]) {
      expect(await ben.call('topic:join', { name: 'news' })).toEqual({ ok: true, name: 'news', userId: 'ben' });
    }
    const invitation = { name: 'secret', userId: 'ben' };
    for (const _again of [1, 2]) {
      expect(await anna.call('topic:invite', invitation)).toEqual({ ok: true, ...invitation });
    }
    for (const name of ['news', 'secret']) {
      expect(await ben.call('topic:leave', { name })).toEqual({ ok: true, success: true, name, userId: 'ben' });
      expect(await refusal(ben, 'topic:leave', { name })).toMatchObject({ code: 'not_found', status: 404 });
      expect(await refusal(anna, 'topic:leave', { name })).toMatchObject({ code: 'owner_cannot_leave', status: 409 });
    }
  });

  it('a private topic does not exist for users who are not members', async () => {
    const service = await startService();
    const [anna, ben] = [await open(service, 'anna'), await open(service, 'ben')];
    await ok(anna, 'topic:create', { name: 'secret', isPrivate: true });
    for (const [event, rest] of [
      ['topic:join', {}],
      ['topic:leave', {}],
      ['topic:invite', { userId: 'ben' }],
    ] as const) {
      const problem = await refusal(ben, event, { name: 'secret', ...rest });
      expect(problem).toMatchObject({ code: 'not_found', status: 404 });
      expect(problem).toEqual(await refusal(ben, event, { name: 'no-such-topic', ...rest }));
    }
    const message = { type: 'test', data: 1 };
    expect(await refusal(ben, 'message', { topic: 'secret', ...message })).toEqual(
      await refusal(ben, 'message', { topic: 'no-such-topic', ...message }),
    );
    expect(await refusal(ben, 'history', { topic: 'secret' })).toEqual(
      await refusal(ben, 'history', { topic: 'no-such-topic' }),
    );
  });

  it('only members invite to a public topic and write in it, whatever their scopes', async () => {
    const service = await startService();
    const anna = await open(service, 'anna');
    await ok(anna, 'topic:create', { name: 'news' });
    const backend = await service.connect('backend', { scope: 'send broadcast presence' });
    for (const [event, payload] of [
      ['topic:invite', { name: 'news', userId: 'ben' }],
      ['message', { topic: 'news', type: 'test', data: 1 }],
    ] as const) {
      expect(await refusal(backend, event, payload)).toMatchObject({ code: 'not_a_member', status: 403 });
    }
    expect(await anna.call('history', { topic: 'news' })).toEqual({ ok: true, topic: 'news', messages: [] });
  });

  it('MAX_TOPICS_PER_USER and MAX_INVITED_TOPICS_PER_USER hold for all of them', async () => {
    const service = await startService({ env: { MAX_TOPICS_PER_USER: '1', MAX_INVITED_TOPICS_PER_USER: '1' } });
    const [anna, ben] = [await open(service, 'anna'), await open(service, 'ben')];
    await ok(anna, 'topic:create', { name: 'a' });
    await ok(ben, 'topic:create', { name: 'b' });
    expect(await refusal(anna, 'topic:create', { name: 'c' })).toMatchObject({ code: 'too_many_topics', status: 403 });
    expect(await refusal(anna, 'topic:join', { name: 'b' })).toMatchObject({ code: 'too_many_topics' });
    await ok(anna, 'topic:invite', { name: 'a', userId: 'ben' });
    const carl = await open(service, 'carl');
    await ok(carl, 'topic:create', { name: 'c' });
    expect(await refusal(carl, 'topic:invite', { name: 'c', userId: 'ben' })).toMatchObject({
      code: 'invitee_full',
      status: 403,
    });
    await ok(ben, 'topic:join', { name: 'b' });
  });

  it.each([
    ['topic:create', 'name', {}],
    ['topic:create', 'name', { name: '@anna' }],
    ['topic:create', 'name', { name: '*' }],
    ['topic:create', 'name', { name: 'x'.repeat(65) }],
    ['topic:create', 'isPrivate', { name: 'news', isPrivate: 'no' }],
    ['topic:join', 'name', { name: 7 }],
    ['topic:join', 'name', { name: '@ben' }],
    ['topic:leave', 'name', {}],
    ['topic:leave', 'name', { name: '*' }],
    ['topic:invite', 'userId', { name: 'own' }],
    ['topic:invite', 'userId', { name: 'own', userId: '' }],
    ['topic:invite', 'name', { name: 'a b', userId: 'ben' }],
    ['topic:create', '', 'news'],
    ['topic:join', '', ['news']],
    ['topic:leave', '', undefined],
    ['message', 'type', { topic: 'own', data: 1 }],
    ['message', 'data', { topic: 'own', type: 't' }],
    ['message', 'event', { topic: 'own', type: 't', data: 1, event: 'closing' }],
    ['message', 'topic', { topic: '*', type: 't', data: 1 }],
    ['message', 'topic', { topic: 'a b', type: 't', data: 1 }],
    ['message', 'topic', { topic: 7, type: 't', data: 1 }],
  ] as const)('%s names the bad field `%s` in %j', async (event, path, payload) => {
    const service = await startService();
    const anna = await open(service, 'anna');
    await ok(anna, 'topic:create', { name: 'own' });
    const problem = await refusal(anna, event, payload);
    expect(problem).toMatchObject({ code: 'bad_request', status: 400, errors: [{ path }] });
    expect((await ok(anna, 'topic:list'))['topics']).toHaveLength(1);
    expect(await anna.call('history', { topic: 'own' })).toMatchObject({ messages: [] });
    expect(await anna.call('history', { topic: '*' })).toMatchObject({ messages: [] });
  });
});

describe('a message in a topic', () => {
  it('reaches all sockets of all members, the sender too, and nobody else', async () => {
    const service = await startService();
    const anna = await service.connect('anna', { scope: 'send' });
    const members = [anna, await open(service, 'anna', 'laptop')];
    for (const device of [undefined, undefined, 'phone']) members.push(await open(service, 'ben', device));
    const stranger = await open(service, 'carla');
    await ok(anna, 'topic:create', { name: 'news' });
    await ok(anna, 'topic:invite', { name: 'news', userId: 'ben' });
    const answer = await ok(anna, 'message', { topic: 'news', type: 'chat', data: { n: 1 } });
    expect(answer).toMatchObject({ success: true, topic: 'news', seq: 1, connected: true, live: 'ok' });
    await ok(anna, 'message', { topic: 'news', type: 'chat', event: 'alert', data: { n: 2 } });
    await ok(anna, 'message', { topic: 'news', type: 'chat', persist: false, data: { n: 3 } });
    const frame = { topic: 'news', timestamp: ISO_TIME, from: 'anna' };
    for (const member of members) {
      expect(await member.next('message')).toEqual({
        ...frame,
        id: answer['id'],
        seq: 1,
        type: 'chat',
        data: { n: 1 },
      });
      expect(await member.nextArgs('alert')).toEqual([{ n: 2 }, { ...frame, id: expect.any(String), seq: 2 }]);
      expect(await member.next('message')).toEqual({ ...frame, id: expect.any(String), type: 'chat', data: { n: 3 } });
    }
    await stranger.settle();
    expect(stranger.received.map(({ event }) => event)).not.toContain('alert');
    expect(stranger.allMessages).toEqual([]);
  });

  it('reaches a socket from the acknowledgement of its join on, and not before', async () => {
    const service = await startService();
    const [anna, ben, other] = [await open(service, 'anna'), await open(service, 'ben'), await open(service, 'ben')];
    await ok(anna, 'topic:create', { name: 'news' });
    for (const n of range(1, 30)) {
      await say(anna, 'news', 2 * n - 1);
      await ok(ben, 'topic:join', { name: 'news' });
      await say(anna, 'news', 2 * n);
      await Promise.all([ben.settle(), other.settle()]);
      await ok(ben, 'topic:leave', { name: 'news' });
    }
    await say(anna, 'news', 61);
    for (const client of [ben, other]) {
      await client.settle();
      expect(numbersIn(client, 'news')).toEqual(range(1, 30).map((n) => 2 * n));
    }
  });

  it('does not reach removed users, nor the members of a deleted topic', async () => {
    const service = await startService();
    const [anna, ben, carla] = [await open(service, 'anna'), await open(service, 'ben'), await open(service, 'carla')];
    await ok(anna, 'topic:create', { name: 'news' });
    for (const client of [ben, carla]) await ok(client, 'topic:join', { name: 'news' });
    await say(anna, 'news', 1);
    const asAnna = { Authorization: `Bearer ${service.token('anna')}` };
    await service.anonymous.delete('/topics/news/members/ben').set(asAnna).expect(200);
    await say(anna, 'news', 2);
    await service.anonymous.delete('/topics/news').set(asAnna).expect(200);
    expect(await refusal(carla, 'message', { topic: 'news', type: 't', data: 1 })).toMatchObject({ code: 'not_found' });
    await ok(anna, 'topic:create', { name: 'news' });
    await say(anna, 'news', 3);
    for (const client of [ben, carla]) await client.settle();
    expect(numbersIn(ben, 'news')).toEqual([1]);
    expect(numbersIn(carla, 'news')).toEqual([1, 2]);
    // The name is the same, the topic is not: memberships went with the old one.
    expect(await refusal(carla, 'topic:leave', { name: 'news' })).toMatchObject({ code: 'not_found' });
    expect(await refusal(carla, 'ack', { topic: 'news', seq: 3 })).toMatchObject({ code: 'bad_request' });
  });

  it('reaches all connected members in the same order, when many send at once', async () => {
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '10000' } });
    const users = range(1, 5).map((n) => `user${n}`);
    const clients = await Promise.all(users.map((user) => open(service, user)));
    const [first] = clients;
    if (first === undefined) throw new Error('no client');
    await ok(first, 'topic:create', { name: 'news' });
    for (const client of clients) await ok(client, 'topic:join', { name: 'news' });
    await Promise.all(
      clients.flatMap((client, index) => range(1, 40).map((n) => say(client, 'news', index * 100 + n))),
    );
    const sent = clients.flatMap((_client, index) => range(1, 40).map((n) => index * 100 + n));
    for (const client of clients) {
      const messages = await client.messages(200);
      expect(messages.map(({ seq }) => seq)).toEqual(range(1, 200));
      expect(messages.map(numberOf)).toEqual(numbersIn(first, 'news'));
      expect(messages.map(numberOf).toSorted((a, b) => a - b)).toEqual(sent);
    }
  });
});

describe('catch-up of a named device in several topics', () => {
  const TOPICS = ['news', 'sport', 'weather'];
  const COUNT = 250;

  async function prepare(): Promise<TestService> {
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '10000' } });
    const anna = await open(service, 'anna');
    for (const name of TOPICS) {
      await ok(anna, 'topic:create', { name });
      await ok(anna, 'topic:invite', { name, userId: 'ben' });
    }
    (await open(service, 'ben', 'phone')).close();
    await Promise.all(TOPICS.flatMap((topic) => range(1, COUNT).map((n) => say(anna, topic, n))));
    return service;
  }

  it('stops at the window until something is acknowledged', async () => {
    const service = await prepare();
    const phone = await service.connect('ben', { device: 'phone' });
    await phone.messages(CATCH_UP_WINDOW_MESSAGES);
    for (const _round of range(1, 5)) await phone.settle();
    expect(phone.allMessages).toHaveLength(CATCH_UP_WINDOW_MESSAGES);
    expect(phone.received.map(({ event }) => event)).not.toContain('sync:done');
    // What has not been sent cannot be acknowledged.
    expect(await refusal(phone, 'ack', { topic: phone.allMessages[0]?.topic, seq: COUNT })).toMatchObject({
      code: 'bad_request',
      errors: [{ path: 'seq' }],
    });
  });

  it('brings everything in order, with what is sent meanwhile, and reports its cursors', async () => {
    const service = await prepare();
    const anna = await open(service, 'anna');
    const phone = await service.connect('ben', { device: 'phone' });
    const total = TOPICS.length * (COUNT + 1);
    for (let count = 1; count <= total; count += 1) {
      const { topic, seq } = await phone.next<Message>('message');
      if (seq <= COUNT) phone.socket.emit('ack', { topic, seq });
      if (count === 100) for (const name of TOPICS) await say(anna, name, COUNT + 1);
    }
    const { cursors } = await phone.next<{ cursors: Record<string, number> }>('sync:done');
    expect(Object.keys(cursors).toSorted()).toEqual(['*', '@ben', ...TOPICS]);
    for (const topic of TOPICS) {
      expect(cursors[topic]).toBe(COUNT + 1);
      expect(numbersIn(phone, topic)).toEqual(range(1, COUNT + 1));
    }
    phone.close();
    const again = await open(service, 'ben', 'phone');
    for (const topic of TOPICS) expect(numbersIn(again, topic)).toEqual([COUNT + 1]);
  });

  it('continues without a topic that is left meanwhile, and with one that is joined', async () => {
    const service = await prepare();
    const anna = await open(service, 'anna');
    const phone = await service.connect('ben', { device: 'phone' });
    await phone.messages(CATCH_UP_WINDOW_MESSAGES);
    const [begun] = new Set(phone.allMessages.map(({ topic }) => topic));
    await ok(anna, 'topic:create', { name: 'fresh' });
    for (const name of TOPICS.filter((topic) => topic !== begun)) await ok(phone, 'topic:leave', { name });
    await ok(phone, 'topic:join', { name: 'fresh' });
    await say(anna, 'fresh', 7);
    for (const name of TOPICS) await say(anna, name, COUNT + 1);
    await ok(phone, 'ack', { topic: begun, seq: CATCH_UP_WINDOW_MESSAGES });
    await phone.next('sync:done');
    await phone.messages(COUNT + 2 - CATCH_UP_WINDOW_MESSAGES);
    await phone.settle();
    for (const topic of TOPICS) expect(numbersIn(phone, topic)).toEqual(topic === begun ? range(1, COUNT + 1) : []);
    expect(numbersIn(phone, 'fresh')).toEqual([7]);
  });

  it('gives a further device at most the last 100 of each', async () => {
    const service = await prepare();
    const laptop = await service.connect('ben', { device: 'laptop' });
    for (const _message of range(1, 300)) {
      const { topic, seq } = await laptop.next<Message>('message');
      laptop.socket.emit('ack', { topic, seq });
    }
    await laptop.next('sync:done');
    for (const topic of TOPICS) expect(numbersIn(laptop, topic)).toEqual(range(COUNT - 99, COUNT));
  });
});

describe('everyone receives exactly what was sent while they were members of the topic', () => {
  /** A call as its caller sees it: it took effect at some moment between the two. Moments are counted, not timed. */
  interface Span {
    readonly begin: number;
    readonly end: number;
  }

  /** One membership of one user: from somewhere in `join` to somewhere in `leave`. */
  interface Membership {
    readonly join: Span;
    readonly leave: Span;
    /** What each of the user's clients got in it. */
    readonly received: readonly (readonly Message[])[];
  }

  const TOPIC = 'crowd';

  /** Each run has no gap: the last message was sent in the current membership, those before it in earlier ones. */
  function runsOf(messages: readonly Message[]): Message[][] {
    const runs: Message[][] = [];
    for (const message of messages) {
      const run = runs.at(-1);
      if (run?.at(-1)?.seq === message.seq - 1) run.push(message);
      else runs.push([message]);
    }
    return runs;
  }

  it.each([
    ['whose clients name their devices', ['phone', 'laptop']],
    ['whose clients name none', [undefined, undefined]],
  ] as const)('users %s', async (_name, devices) => {
    const random = seededRandom('topics');
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '100000' } });
    const owner = await open(service, 'owner');
    await ok(owner, 'topic:create', { name: TOPIC });
    let moment = 0;
    let made = 0;
    const sent = new Map<number, Span>();
    const span = async (call: () => Promise<unknown>): Promise<Span> => {
      moment += 1;
      const begin = moment;
      await call();
      moment += 1;
      return { begin, end: moment };
    };
    const speak = async (client: TestClient) => {
      made += 1;
      const n = made;
      sent.set(n, await span(() => say(client, TOPIC, n)));
    };

    /** One user: joins, speaks and leaves from any of the clients, and has left in the end. */
    async function live(userId: string): Promise<{ memberships: Membership[]; clients: TestClient[] }> {
      const clients = await Promise.all(devices.map((device) => open(service, userId, device)));
      const anyClient = () => clients[random.integer(0, clients.length - 1)] ?? owner;
      const memberships: Membership[] = [];
      let join: Span | undefined;
      let counts = clients.map(() => 0);
      /** What has arrived since the last time. */
      const take = async () => {
        await Promise.all(clients.map((client) => client.settle()));
        const received = clients.map((client, index) => client.allMessages.slice(counts[index]));
        counts = clients.map((client) => client.allMessages.length);
        return received;
      };
      const leave = async (joined: Span) => {
        const left = await span(() => ok(anyClient(), 'topic:leave', { name: TOPIC }));
        memberships.push({ join: joined, leave: left, received: await take() });
        join = undefined;
      };
      for (const _step of range(1, 60)) {
        const choice = random.integer(1, 10);
        if (join !== undefined && choice <= 2) await leave(join);
        else if (join !== undefined && choice <= 7) await speak(anyClient());
        else if (join !== undefined) await Promise.all([speak(anyClient()), speak(anyClient()), speak(anyClient())]);
        else if (choice <= 4) {
          expect((await take()).flat()).toEqual([]);
          join = await span(() => ok(anyClient(), 'topic:join', { name: TOPIC }));
        } else {
          const problem = await refusal(anyClient(), 'message', { topic: TOPIC, type: 'test', data: 'refused' });
          expect(problem.code).toBe('not_a_member');
        }
      }
      if (join !== undefined) await leave(join);
      return { memberships, clients };
    }

    const possiblyIn = (memberships: readonly Membership[]) => {
      const said = [...sent].filter(([, { begin, end }]) =>
        memberships.some(({ join, leave }) => end > join.begin && begin < leave.end),
      );
      return new Set(said.map(([n]) => n));
    };

    const lives = await Promise.all(range(1, 5).map((n) => live(`user${n}`)));
    expect(sent.size).toBeGreaterThan(50);
    await say(owner, TOPIC, 0);
    for (const { memberships, clients } of lives) {
      await Promise.all(clients.map((client) => client.settle()));
      clients.forEach((client, index) => {
        const inMemberships = memberships.flatMap(({ received }) => received[index] ?? []);
        expect(client.allMessages).toEqual(inMemberships);
        // In order, and nothing twice.
        const seqs = inMemberships.map(({ seq }) => seq);
        expect(seqs).toEqual([...new Set(seqs)].toSorted((a, b) => a - b));
      });
      memberships.forEach(({ join, leave, received }, place) => {
        const earlier = possiblyIn(memberships.slice(0, place));
        const possibly = possiblyIn(memberships.slice(0, place + 1));
        const surely = [...sent].filter(([, { begin, end }]) => begin > join.end && end < leave.begin);
        for (const messages of received) {
          const numbers = new Set(messages.map(numberOf));
          expect(surely.map(([n]) => n).filter((n) => !numbers.has(n))).toEqual([]);
          expect([...numbers].filter((n) => !possibly.has(n))).toEqual([]);
          // Without a gap, except for what was sent between leaving and rejoining.
          const late = runsOf(messages).slice(0, -1).flat();
          expect(late.map(numberOf).filter((n) => !earlier.has(n))).toEqual([]);
        }
      });
    }
  });
});
