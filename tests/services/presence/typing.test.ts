/** Who is typing: sent to the others, never stored. */

import { createSingleNode } from '../../../services/cluster/contract';
import type { Connection, Transport } from '../../../services/delivery/connections';
import type { Delivery } from '../../../services/delivery/delivery';
import { CATCH_UP_WINDOW_MESSAGES } from '../../../services/delivery/window';
import { Typing } from '../../../services/presence/typing';
import type { TestClient } from '../../support/client';
import { ShiftedClock, VirtualClock } from '../../support/clock';
import { range, startService, type TestService } from '../../support/service';

const SILENCE_MS = 5_000;
const SECOND_MS = 1_000;

async function open(service: TestService, userId: string, device?: string): Promise<TestClient> {
  const client = await service.connect(userId, device === undefined ? {} : { device });
  await client.next('sync:done');
  return client;
}

async function type(client: TestClient, topic: string, typing: boolean): Promise<void> {
  expect(await client.call('typing', { topic, typing })).toEqual({ ok: true });
}

function typingOf({ received }: TestClient): unknown[] {
  return received.filter(({ event }) => event === 'typing').map(({ args }) => args[0]);
}

/** A service with a clock to set, and a topic of these members. */
async function withTopic(...members: string[]) {
  const clock = new ShiftedClock();
  const service = await startService({ overrides: { clock } });
  const clients = new Map<string, TestClient>();
  const clientOf = (userId: string): TestClient => {
    const client = clients.get(userId);
    if (client === undefined) throw new Error(`${userId} is no member`);
    return client;
  };
  for (const [index, userId] of members.entries()) {
    const client = await open(service, userId);
    clients.set(userId, client);
    if (index === 0) await client.call('topic:create', { name: 'news' });
    else await client.call('topic:join', { name: 'news' });
  }
  return { service, clock, clientOf };
}

describe('typing', () => {
  it('in a topic is sent to its other members on all their sockets, and not to the user', async () => {
    const { service, clock, clientOf } = await withTopic('anna', 'ben', 'carla');
    const [anna, ben, carla] = ['anna', 'ben', 'carla'].map(clientOf) as [TestClient, TestClient, TestClient];
    const ownOther = await open(service, 'anna', 'laptop');
    const bensOther = await open(service, 'ben', 'phone');
    const stranger = await open(service, 'stranger');
    await type(anna, 'news', true);
    for (const client of [ben, carla, bensOther]) {
      expect(await client.next('typing')).toEqual({ topic: 'news', userId: 'anna', typing: true });
    }
    clock.shift(SECOND_MS);
    await type(anna, 'news', false);
    for (const client of [ben, carla, bensOther]) {
      expect(await client.next('typing')).toEqual({ topic: 'news', userId: 'anna', typing: false });
    }
    for (const client of [anna, ownOther, stranger]) {
      await client.settle();
      expect(typingOf(client)).toEqual([]);
    }
  });

  it('to a user is sent to that user, by the name of the one who types', async () => {
    const service = await startService();
    const [anna, ben, laptop, stranger] = [
      await open(service, 'anna'),
      await open(service, 'ben'),
      await open(service, 'ben', 'laptop'),
      await open(service, 'stranger'),
    ];
    await type(anna, '@ben', true);
    for (const client of [ben, laptop]) {
      expect(await client.next('typing')).toEqual({ topic: '@anna', userId: 'anna', typing: true });
    }
    // The answer goes the other way.
    await type(ben, '@anna', true);
    expect(await anna.next('typing')).toEqual({ topic: '@ben', userId: 'ben', typing: true });
    for (const client of [anna, ben, laptop, stranger]) await client.settle();
    expect([anna, ben, laptop, stranger].map((client) => typingOf(client).length)).toEqual([1, 1, 1, 0]);
  });

  it('to oneself, or to an offline user, is sent to nobody', async () => {
    const service = await startService();
    const [anna, laptop] = [await open(service, 'anna'), await open(service, 'anna', 'laptop')];
    for (const topic of ['@anna', '@nobody']) await type(anna, topic, true);
    for (const client of [anna, laptop]) {
      await client.settle();
      expect(typingOf(client)).toEqual([]);
    }
  });

  it('is never stored: later connections receive nothing of it', async () => {
    const { service, clientOf } = await withTopic('anna', 'ben');
    const [anna, ben] = [clientOf('anna'), clientOf('ben')];
    await type(anna, 'news', true);
    await ben.next('typing');
    ben.close();
    await type(anna, '@ben', true);
    const back = await open(service, 'ben', 'phone');
    await back.settle();
    expect(back.allMessages).toEqual([]);
    expect(typingOf(back)).toEqual([]);
    for (const topic of ['news', '@anna']) {
      expect(await anna.call('history', { topic })).toEqual({ ok: true, topic, messages: [] });
    }
    const { body } = await service.api.post('/topics/news/messages').send({ type: 't', data: 1 }).expect(200);
    expect(body.seq).toBe(1);
  });

  it('ends by itself after five seconds of silence', async () => {
    const { clock, clientOf } = await withTopic('anna', 'ben');
    const [anna, ben] = [clientOf('anna'), clientOf('ben')];
    await type(anna, 'news', true);
    await ben.next('typing');
    clock.shift(SILENCE_MS - SECOND_MS);
    // Still typing: five seconds begin again.
    await type(anna, 'news', true);
    clock.shift(SILENCE_MS - SECOND_MS);
    await ben.settle();
    expect(typingOf(ben)).toHaveLength(1);
    clock.shift(SECOND_MS);
    expect(await ben.next('typing')).toEqual({ topic: 'news', userId: 'anna', typing: false });
    await ben.settle();
    expect(typingOf(ben)).toHaveLength(2);
  });

  it('ends even when the user who types has gone', async () => {
    const { clock, clientOf } = await withTopic('anna', 'ben');
    const [anna, ben] = [clientOf('anna'), clientOf('ben')];
    await type(anna, 'news', true);
    await ben.next('typing');
    anna.close();
    clock.shift(SILENCE_MS);
    expect(await ben.next('typing')).toEqual({ topic: 'news', userId: 'anna', typing: false });
  });

  it.each([
    ['news', { code: 'not_a_member', status: 403 }],
    ['secret', { code: 'not_found', status: 404 }],
    ['no-such-topic', { code: 'not_found', status: 404 }],
  ])('in a topic by a non-member is refused: %s', async (topic, error) => {
    const { service, clientOf } = await withTopic('anna', 'ben');
    await clientOf('anna').call('topic:create', { name: 'secret', isPrivate: true });
    const stranger = await service.connect('stranger', { scope: 'send broadcast presence' });
    expect(await stranger.call('typing', { topic, typing: true })).toMatchObject({
      ok: false,
      error,
    });
    for (const member of ['anna', 'ben'].map(clientOf)) {
      await member.settle();
      expect(typingOf(member)).toEqual([]);
    }
  });

  it('is sent about a member to whose topics catch-up has not come yet', async () => {
    const { service, clientOf } = await withTopic('anna');
    const anna = clientOf('anna');
    await anna.call('topic:invite', { name: 'news', userId: 'carla' });
    // More than may be in flight before the first of them is acknowledged.
    await service.send('carla', range(1, CATCH_UP_WINDOW_MESSAGES + 1));
    const carla = await service.connect('carla', { device: 'phone' });
    await type(carla, 'news', true);
    expect(await anna.next('typing')).toEqual({ topic: 'news', userId: 'carla', typing: true });
  });

  it('is refused from the moment on in which the user has left, and not sent to users who have left', async () => {
    const { clock, clientOf } = await withTopic('anna', 'ben', 'carla');
    const [anna, ben, carla] = ['anna', 'ben', 'carla'].map(clientOf) as [TestClient, TestClient, TestClient];
    await ben.call('topic:leave', { name: 'news' });
    expect(await ben.call('typing', { topic: 'news', typing: true })).toMatchObject({
      error: { code: 'not_a_member' },
    });
    await type(anna, 'news', true);
    await carla.next('typing');
    await ben.settle();
    expect(typingOf(ben)).toEqual([]);
    // A socket that joins is notified from then on.
    await ben.call('topic:join', { name: 'news' });
    clock.shift(SECOND_MS);
    await type(anna, 'news', false);
    expect(await ben.next('typing')).toEqual({ topic: 'news', userId: 'anna', typing: false });
  });

  it.each([
    ['topic', { typing: true }],
    ['topic', { topic: '', typing: true }],
    ['topic', { topic: 7, typing: true }],
    ['topic', { topic: '*', typing: true }],
    ['topic', { topic: '@', typing: true }],
    ['topic', { topic: '@a\u0007', typing: true }],
    ['topic', { topic: 'a b', typing: true }],
    ['topic', { topic: `@${'x'.repeat(129)}`, typing: true }],
    ['typing', { topic: '@ben' }],
    ['typing', { topic: '@ben', typing: 'true' }],
    ['typing', { topic: '@ben', typing: 1 }],
    ['typing', { topic: '@ben', typing: null }],
    ['', undefined],
    ['', 'news'],
    ['', [true]],
  ])('names the bad field `%s` in %j', async (path, payload) => {
    const service = await startService();
    const [anna, ben] = [await open(service, 'anna'), await open(service, 'ben')];
    expect(await anna.call('typing', payload)).toMatchObject({
      ok: false,
      error: { code: 'bad_request', status: 400, errors: [{ path }] },
    });
    await ben.settle();
    expect(typingOf(ben)).toEqual([]);
  });
});

interface TypingFrame {
  readonly topic: string;
  readonly userId: string;
  readonly typing: boolean;
}

const transport: Transport = {
  name: 'plain',
  encodeMessage: () => {
    throw new Error('nothing is stored');
  },
  encodeEvent: (event, payload) => ({ event, payload }),
};

/** Typing with one listener in every room, and a clock that stands still until it is moved. */
function listen() {
  const told: TypingFrame[] = [];
  const listener = {
    userId: 'listener',
    transport,
    writeFrame: (frame: unknown): boolean => {
      const { event, payload } = frame as { event: string; payload: TypingFrame };
      expect(event).toBe('typing');
      told.push(payload);
      return true;
    },
  } satisfies Partial<Connection>;
  const rooms = { membersOf: () => [listener as unknown as Connection] } satisfies Pick<Delivery, 'membersOf'>;
  const clock = new VirtualClock();
  const typing = new Typing(rooms as unknown as Delivery, createSingleNode('test'), clock);
  const set = (userId: string, room: string, isTyping: boolean) => typing.set({ room, topic: room, userId }, isTyping);
  const pass = (milliseconds: number) => {
    clock.jump(milliseconds);
    typing.check();
  };
  /** What was sent since the last time. */
  const take = () => told.splice(0).map(({ topic, userId, typing: isTyping }) => [userId, topic, isTyping]);
  return { set, pass, take };
}

describe('the frames', () => {
  it('are at most one per second and person, and the last state is sent', () => {
    const { set, pass, take } = listen();
    set('anna', 'news', true);
    expect(take()).toEqual([['anna', 'news', true]]);
    // A nervous client.
    for (const n of range(1, 9)) {
      set('anna', 'news', n % 2 === 0);
      pass(100);
    }
    expect(take()).toEqual([]);
    pass(100);
    expect(take()).toEqual([['anna', 'news', false]]);
    pass(SILENCE_MS);
    expect(take()).toEqual([]);
  });

  it('are counted per person over all rooms, and one person does not hold up another', () => {
    const { set, pass, take } = listen();
    for (const room of ['news', 'sport', 'weather']) set('anna', room, true);
    set('ben', 'sport', true);
    expect(take()).toEqual([
      ['anna', 'news', true],
      ['ben', 'sport', true],
    ]);
    pass(SECOND_MS);
    expect(take()).toEqual([['anna', 'sport', true]]);
    pass(SECOND_MS);
    expect(take()).toEqual([['anna', 'weather', true]]);
  });

  it('are none for what has changed nothing', () => {
    const { set, pass, take } = listen();
    set('anna', 'news', false);
    pass(SECOND_MS);
    expect(take()).toEqual([]);
    for (const _key of range(1, 20)) {
      set('anna', 'news', true);
      pass(SECOND_MS);
    }
    expect(take()).toEqual([['anna', 'news', true]]);
    set('anna', 'news', false);
    set('anna', 'news', false);
    pass(SILENCE_MS);
    expect(take()).toEqual([['anna', 'news', false]]);
  });

  it('end after five seconds of silence, not before, and once', () => {
    const { set, pass, take } = listen();
    set('anna', 'news', true);
    take();
    pass(SILENCE_MS - 1);
    expect(take()).toEqual([]);
    pass(1);
    expect(take()).toEqual([['anna', 'news', false]]);
    pass(10 * SILENCE_MS);
    expect(take()).toEqual([]);
    // Typing again is sent again.
    set('anna', 'news', true);
    expect(take()).toEqual([['anna', 'news', true]]);
  });

  it('never report the end of what was never reported', () => {
    const { set, pass, take } = listen();
    set('anna', 'news', true);
    set('anna', 'sport', true);
    set('anna', 'sport', false);
    pass(SECOND_MS);
    pass(SECOND_MS);
    expect(take()).toEqual([['anna', 'news', true]]);
  });

  it('of many rooms all end, one per second', () => {
    const { set, pass, take } = listen();
    const rooms = range(1, 4).map((n) => `room${n}`);
    for (const room of rooms) {
      set('anna', room, true);
      pass(SECOND_MS);
    }
    expect(take()).toHaveLength(4);
    const ends: unknown[] = [];
    for (const _second of range(1, 10)) {
      pass(SECOND_MS);
      const told = take();
      expect(told.length).toBeLessThanOrEqual(1);
      ends.push(...told);
    }
    expect(ends).toEqual(rooms.map((room) => ['anna', room, false]));
  });
});
