/** Presence: who is online, sent to watchers; and the status over REST, which does not wait. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Connection, Transport } from '../../../services/delivery/connections';
import { Presence } from '../../../services/presence/presence';
import { openClient, type TestClient } from '../../support/client';
import { ClockWithRealTimers, clockAt, ShiftedClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { type Random, seededRandom } from '../../support/random';
import { openRawSocket } from '../../support/raw-socket';
import { range, startService, type TestService } from '../../support/service';
import { TRANSPORTS } from '../../support/transports';

const ISO_TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
/** Longer than any test takes: only the clock that is set ends it. */
const GRACE_MS = 120_000;
const WITH_GRACE = { PRESENCE_GRACE_MS: String(GRACE_MS) };

interface Lobby {
  readonly users: string[];
  readonly count: number;
}

/** A user who watches, and the first list. */
async function watch(service: TestService, userId = 'watcher'): Promise<{ watcher: TestClient; lobby: Lobby }> {
  const watcher = await service.connect(userId);
  expect(await watcher.call('presence:subscribe')).toEqual({ ok: true, count: expect.any(Number) });
  return { watcher, lobby: await watcher.next<Lobby>('presence') };
}

async function statusOf(service: TestService, userId: string) {
  const { body } = await service.api.get(`/websocket/users/${userId}/status`).expect(200);
  return body as { connected: boolean; sockets: number; lastSeen: string | null };
}

/** Closes clients, and resolves when the service knows it. */
async function close(service: TestService, userId: string, ...clients: TestClient[]): Promise<void> {
  const { sockets } = await statusOf(service, userId);
  for (const client of clients) client.close();
  await eventually(
    () => statusOf(service, userId),
    (status) => status.sockets === sockets - clients.length,
  );
}

function lobbyEvents({ received }: TestClient): unknown[] {
  return received.filter(({ event }) => /^presence:/.test(event)).map(({ event, args }) => [event, ...args]);
}

/** Makes presence send something: whatever was pending before has arrived then. */
async function expectSilence(service: TestService, watcher: TestClient): Promise<void> {
  const before = lobbyEvents(watcher);
  await service.connect('herald');
  expect(await watcher.next('presence:join')).toEqual({ userId: 'herald' });
  expect(lobbyEvents(watcher)).toEqual([...before, ['presence:join', { userId: 'herald' }]]);
}

describe('the online users', () => {
  it('are shown to subscribers, then who comes and goes', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: WITH_GRACE, overrides: { clock } });
    const anna = await service.connect('anna');
    const { watcher, lobby } = await watch(service);
    expect({ ...lobby, users: lobby.users.toSorted() }).toEqual({ users: ['anna', 'watcher'], count: 2 });
    await service.connect('ben');
    expect(await watcher.next('presence:join')).toEqual({ userId: 'ben' });
    const begin = clock.now();
    await close(service, 'anna', anna);
    const end = clock.now();
    clock.shift(GRACE_MS);
    const leave = await watcher.next<{ userId: string; lastSeen: string }>('presence:leave');
    expect(leave).toEqual({ userId: 'anna', lastSeen: ISO_TIME });
    // The end of the last connection, not that of the grace.
    expect(Date.parse(leave.lastSeen)).toBeGreaterThanOrEqual(begin);
    expect(Date.parse(leave.lastSeen)).toBeLessThanOrEqual(end);
    expect((await statusOf(service, 'anna')).lastSeen).toBe(leave.lastSeen);
    const later = await watch(service, 'later');
    expect(later.lobby.users.toSorted()).toEqual(['ben', 'later', 'watcher']);
  });

  it('are shown once, while any of their sockets is open', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: WITH_GRACE, overrides: { clock } });
    const { watcher } = await watch(service);
    const [phone, laptop, second] = [
      await service.connect('anna', { device: 'phone' }),
      await service.connect('anna', { device: 'laptop' }),
      await service.connect('anna', { device: 'laptop' }),
    ];
    expect(await watcher.next('presence:join')).toEqual({ userId: 'anna' });
    await close(service, 'anna', phone, second);
    clock.shift(10 * GRACE_MS);
    await expectSilence(service, watcher);
    await close(service, 'anna', laptop);
    clock.shift(GRACE_MS);
    expect(await watcher.next('presence:leave')).toEqual({ userId: 'anna', lastSeen: ISO_TIME });
  });

  it('do not change on a reconnect within the grace period, while REST shows everything at once', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: WITH_GRACE, overrides: { clock } });
    const { watcher } = await watch(service);
    const anna = await service.connect('anna');
    await watcher.next('presence:join');
    await close(service, 'anna', anna);
    expect(await statusOf(service, 'anna')).toMatchObject({ connected: false, sockets: 0, lastSeen: ISO_TIME });
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body).toMatchObject({ users: ['watcher'], count: 1 });
    // The list still contains users who may be back in a moment.
    expect((await watch(service, 'other')).lobby.users).toContain('anna');
    await watcher.next('presence:join');
    clock.shift(GRACE_MS - 1_000);
    await service.connect('anna');
    expect(await statusOf(service, 'anna')).toMatchObject({ connected: true, sockets: 1 });
    clock.shift(10 * GRACE_MS);
    await expectSilence(service, watcher);
  });

  it('leave in one frame when they leave at the same moment', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: WITH_GRACE, overrides: { clock } });
    const users = ['anna', 'ben', 'carla'];
    const clients = await Promise.all(users.map((user) => service.connect(user)));
    const { watcher } = await watch(service);
    for (const [index, user] of users.entries()) {
      const client = clients[index];
      if (client !== undefined) await close(service, user, client);
    }
    const lastSeen = (await statusOf(service, 'carla')).lastSeen;
    clock.shift(GRACE_MS);
    const leave = await watcher.next<{ users: string[] }>('presence:leave');
    expect({ ...leave, users: leave.users.toSorted() }).toEqual({ users, lastSeen });
    expect(lobbyEvents(watcher)).toHaveLength(1);
  });

  it('leave at once on a logout', async () => {
    const service = await startService({ env: WITH_GRACE });
    const { watcher } = await watch(service);
    const phone = await service.connect('anna', { device: 'phone' });
    const laptop = await service.connect('anna', { device: 'laptop' });
    expect(await watcher.next('presence:join')).toEqual({ userId: 'anna' });
    phone.socket.emit('logout');
    await phone.next('closing');
    // The other device is still there.
    await expectSilence(service, watcher);
    laptop.socket.emit('logout');
    expect(await watcher.next('presence:leave')).toEqual({ userId: 'anna', lastSeen: ISO_TIME });
  });

  it('leave after the grace period when an administrator disconnects them', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: WITH_GRACE, overrides: { clock } });
    const { watcher } = await watch(service);
    await service.connect('anna');
    await watcher.next('presence:join');
    await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    await expectSilence(service, watcher);
    clock.shift(GRACE_MS);
    expect(await watcher.next('presence:leave')).toMatchObject({ userId: 'anna' });
  });

  it('never include a socket that is not authenticated', async () => {
    const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
    const { watcher } = await watch(service);
    await openRawSocket(service.url);
    const forged = openClient(service.url, { auth: { token: 'forged' } });
    expect(await forged.next('error')).toEqual({ message: 'Authentication failed' });
    forged.socket.emit('presence:subscribe');
    await forged.next('disconnect');
    await expectSilence(service, watcher);
    expect(forged.received.map(({ event }) => event)).not.toContain('presence');
    const { lobby } = await watch(service, 'later');
    expect(lobby.users.toSorted()).toEqual(['herald', 'later', 'watcher']);
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body.count).toBe(3);
  });

  it('are not sent before a subscription, nor after its end', async () => {
    const service = await startService();
    const { watcher } = await watch(service);
    const idle = await service.connect('idle');
    await watcher.next('presence:join');
    await service.connect('anna');
    await watcher.next('presence:join');
    await idle.settle();
    expect(lobbyEvents(idle)).toEqual([]);
    await idle.call('presence:subscribe');
    expect(await watcher.call('presence:unsubscribe')).toEqual({ ok: true });
    // Once more does nothing.
    expect(await watcher.call('presence:unsubscribe')).toEqual({ ok: true });
    await service.connect('ben');
    expect(await idle.next('presence:join')).toEqual({ userId: 'ben' });
    await watcher.settle();
    expect(lobbyEvents(watcher)).toHaveLength(2);
    // And it can be watched again.
    expect(await watcher.call('presence:subscribe')).toMatchObject({ ok: true, count: 4 });
    await service.connect('carla');
    for (const client of [watcher, idle]) expect(await client.next('presence:join')).toEqual({ userId: 'carla' });
  });

  it('are sent once to a connection that subscribes twice', async () => {
    const service = await startService();
    const { watcher } = await watch(service);
    await watcher.call('presence:subscribe');
    expect(await watcher.next('presence')).toEqual({ users: ['watcher'], count: 1 });
    await expectSilence(service, watcher);
  });

  it('are refused without scope presence when PRESENCE_PUBLIC=false', async () => {
    const service = await startService({ env: { PRESENCE_PUBLIC: 'false' } });
    for (const scope of [undefined, 'send broadcast']) {
      const client = await service.connect('anna', { scope: scope ?? '' });
      expect(await client.call('presence:subscribe')).toMatchObject({
        ok: false,
        error: { code: 'insufficient_scope', status: 403, detail: expect.stringContaining('presence') },
      });
      await service.connect(`friend${scope?.length}`);
      await client.settle();
      expect(client.received.map(({ event }) => event).filter((event) => event.startsWith('presence'))).toEqual([]);
    }
    for (const scope of ['presence', 'admin']) {
      const client = await service.connect('guard', { scope });
      expect(await client.call('presence:subscribe')).toMatchObject({ ok: true });
      expect((await client.next<Lobby>('presence')).users).toContain('guard');
    }
  });

  it('are open to any token otherwise, while lists over REST need scope presence', async () => {
    const service = await startService();
    const { lobby } = await watch(service);
    expect(lobby).toEqual({ users: ['watcher'], count: 1 });
    const asWatcher = { Authorization: `Bearer ${service.token('watcher')}` };
    await service.anonymous.get('/websocket/users/connected').set(asWatcher).expect(403);
    await service.anonymous.get('/websocket/users/anna/status').set(asWatcher).expect(403);
  });
});

/** A clock that stands still until it is moved. */
class StandingClock extends ClockWithRealTimers {
  time = Date.UTC(2026, 0, 1);

  now(): number {
    return this.time;
  }
}

type Frame = readonly [event: string, payload: unknown];

/** Events that were encoded. */
const encoded: string[] = [];

const wire: Transport = {
  name: 'plain',
  encodeMessage: () => {
    throw new Error('the lobby sends no messages');
  },
  encodeEvent: (event, payload): Frame => {
    encoded.push(event);
    return [event, structuredClone(payload)];
  },
};

/** A connection that keeps what is written to it. */
class FakeConnection implements Connection {
  readonly id: string;
  readonly device = 'default';
  readonly caller;
  readonly origin = '';
  readonly isAcknowledging = false;
  readonly isOpen = true;
  unsentBytes = 0;
  readonly transport = wire;
  readonly frames: Frame[] = [];

  constructor(readonly userId: string) {
    this.id = `connection of ${userId}`;
    this.caller = { userId, scopes: new Set<string>() };
  }

  send(event: string, payload: unknown): void {
    this.frames.push([event, payload]);
  }

  writeFrame(frame: unknown): boolean {
    this.frames.push(frame as Frame);
    return true;
  }

  sendPage(): void {
    throw new Error('the lobby sends no messages');
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    throw new Error('the lobby closes nobody');
  }

  confirm(): void {}

  terminate(): void {
    throw new Error('the lobby cuts nobody');
  }
}

/** What was written waits until it is taken. */
class SlowConnection extends FakeConnection {
  #onDrain: (() => void) | undefined;

  override writeFrame(frame: unknown): boolean {
    this.unsentBytes += 1;
    return super.writeFrame(frame);
  }

  override drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDrain = resolve;
    });
  }

  async take(): Promise<void> {
    this.unsentBytes = 0;
    this.#onDrain?.();
    await nextTurn();
  }
}

/** Makes a connection watch that takes everything at once. @returns the list that it received. */
function show(presence: Presence, connection: FakeConnection): Lobby {
  void presence.watch(connection);
  const [event, lobby] = connection.frames.pop() ?? [];
  expect([event, connection.frames]).toEqual(['presence', []]);
  return lobby as Lobby;
}

/** A watcher who believes what it receives, and nothing else. */
class Watcher extends FakeConnection {
  readonly shown: Set<string>;
  /** Joins of users who were listed, leaves of users who were not. */
  readonly faults: string[] = [];

  constructor(userId: string, presence: Presence) {
    super(userId);
    const { users, count } = show(presence, this);
    this.shown = new Set(users);
    expect(this.shown.size).toBe(count);
  }

  /** Applies what was received since the last time. @returns how many frames it was. */
  read(): number {
    const frames = this.frames.splice(0);
    for (const [event, payload] of frames) {
      const told = payload as { userId?: string; users?: string[] };
      const users = told.users ?? [told.userId ?? ''];
      for (const user of users) {
        if (this.shown.has(user) === (event === 'presence:join')) this.faults.push(`${event} ${user}`);
        if (event === 'presence:join') this.shown.add(user);
        else this.shown.delete(user);
      }
    }
    expect(this.faults).toEqual([]);
    return frames.length;
  }
}

describe('the presence frames', () => {
  const TICK_MS = 500;
  /** A tick sends joins in one frame and leaves in another. */
  const FRAMES_PER_TICK = 2;

  function setUp(graceMs = GRACE_MS) {
    const clock = new StandingClock();
    const presence = new Presence(clock, graceMs);
    const tick = () => {
      clock.time += TICK_MS;
      presence.sendChanges();
    };
    return { clock, presence, tick };
  }

  it('name one user, or list several', () => {
    const { clock, presence, tick } = setUp();
    const watcher = new FakeConnection('watcher');
    expect(show(presence, watcher)).toEqual({ users: [], count: 0 });
    presence.arrived('anna');
    tick();
    for (const user of ['ben', 'carla']) presence.arrived(user);
    tick();
    presence.departed('anna');
    clock.time += 1_000;
    const lastSeen = new Date(clock.time).toISOString();
    presence.departed('ben');
    clock.time += GRACE_MS;
    tick();
    tick();
    expect(watcher.frames).toEqual([
      ['presence:join', { userId: 'anna' }],
      ['presence:join', { users: ['ben', 'carla'] }],
      ['presence:leave', { users: ['anna', 'ben'], lastSeen }],
    ]);
  });

  it('leave out users who came and went between two of them', () => {
    const { presence, tick } = setUp(0);
    const watcher = new FakeConnection('watcher');
    show(presence, watcher);
    presence.arrived('anna');
    presence.departed('anna');
    tick();
    presence.arrived('ben');
    tick();
    presence.departed('ben');
    presence.arrived('ben');
    tick();
    expect(watcher.frames).toEqual([['presence:join', { userId: 'ben' }]]);
    // A user who logs out and is back before the next frame was never gone.
    presence.departed('ben');
    presence.loggedOut('ben');
    presence.arrived('ben');
    tick();
    expect(watcher.frames).toHaveLength(1);
  });

  it('announce a leave when the grace period has elapsed, not before', () => {
    const { clock, presence } = setUp();
    const watcher = new FakeConnection('watcher');
    presence.arrived('anna');
    show(presence, watcher);
    const lastSeen = new Date(clock.time).toISOString();
    presence.departed('anna');
    clock.time += GRACE_MS - 1;
    presence.sendChanges();
    expect(watcher.frames).toEqual([]);
    clock.time += 1;
    presence.sendChanges();
    expect(watcher.frames).toEqual([['presence:leave', { userId: 'anna', lastSeen }]]);
  });

  /** People come and go at random; `online` is who is listed after the grace periods. */
  function churn(presence: Presence, random: Random, connected: Set<string>): void {
    for (const _change of range(1, 1_000)) {
      const user = `user${random.integer(1, 10_000)}`;
      if (connected.delete(user)) {
        presence.departed(user);
        if (random.integer(1, 4) === 1) presence.loggedOut(user);
      } else {
        connected.add(user);
        presence.arrived(user);
      }
    }
  }

  it('are at most two per tick for 10,000 users who come and go', () => {
    const random = seededRandom('presence');
    const { clock, presence, tick } = setUp();
    const connected = new Set(range(1, 5_000).map((n) => `user${n}`));
    for (const user of connected) presence.arrived(user);
    const watchers = range(1, 20).map((n) => new Watcher(`watcher${n}`, presence));
    let frames = 0;
    for (const _tick of range(1, 40)) {
      churn(presence, random, connected);
      tick();
      for (const watcher of watchers) {
        const count = watcher.read();
        expect(count).toBeLessThanOrEqual(FRAMES_PER_TICK);
        frames += count;
      }
    }
    expect(frames).toBeGreaterThan(0);
    clock.time += GRACE_MS;
    tick();
    for (const watcher of watchers) {
      watcher.read();
      expect([...watcher.shown].toSorted()).toEqual([...connected].toSorted());
    }
  });

  it('are at most two per tick even while others come and subscribe', () => {
    const random = seededRandom('subscriptions');
    const { presence, tick } = setUp();
    const connected = new Set<string>();
    const watchers = [new Watcher('first', presence)];
    for (const round of range(1, 20)) {
      // As every client of a page with a list of people does.
      for (const n of range(1, 20)) {
        const userId = `newcomer ${round}.${n}`;
        presence.arrived(userId);
        connected.add(userId);
        watchers.push(new Watcher(userId, presence));
      }
      if (round % 5 === 0) churn(presence, random, connected);
      tick();
      for (const watcher of watchers) expect(watcher.read()).toBeLessThanOrEqual(FRAMES_PER_TICK);
    }
    expect(watchers).toHaveLength(401);
  });

  it('show the same list to all who subscribe between two changes, and then the changes together', () => {
    const { presence, tick } = setUp();
    presence.arrived('anna');
    const connections = range(1, 50).map((n) => new FakeConnection(`watcher ${n}`));
    encoded.length = 0;
    for (let round = 0; round < 10; round += 1) for (const one of connections) show(presence, one);
    expect(encoded).toEqual(['presence']);
    presence.arrived('ben');
    tick();
    expect(encoded).toEqual(['presence', 'presence:join']);
    for (const one of connections) expect(one.frames).toEqual([['presence:join', { userId: 'ben' }]]);
    expect(show(presence, new FakeConnection('late')).users).toEqual(['anna', 'ben']);
  });

  it('show a large list unchanged until the next frames, however many come and go', () => {
    const { presence, tick } = setUp();
    for (const n of range(1, 2_000)) presence.arrived(`user ${n}`);
    tick();
    encoded.length = 0;
    const watchers = range(1, 100).map((n) => {
      presence.arrived(`newcomer ${n}`);
      return new Watcher(`watcher ${n}`, presence);
    });
    expect(encoded).toEqual(['presence']);
    tick();
    expect(encoded).toEqual(['presence', 'presence:join']);
    for (const watcher of watchers) {
      watcher.read();
      expect(watcher.shown.size).toBe(2_100);
    }
    expect(show(presence, new FakeConnection('late')).count).toBe(2_100);
  });

  it('show a very large list in parts, each when the one before was taken, and then what has changed', async () => {
    const { presence, tick } = setUp(0);
    const names = range(1, 20_000).map((n) => `a user with a name of some length ${n}`);
    for (const name of names) presence.arrived(name);
    const slow = new SlowConnection('slow');
    slow.unsentBytes = 1;
    const watching = presence.watch(slow);
    const shown = new Set<string>();
    const parts = 4;
    for (let part = 0; part < parts; part += 1) {
      await slow.take();
      const [frame, ...others] = slow.frames.splice(0);
      expect([frame?.[0], others]).toEqual([part === 0 ? 'presence' : 'presence:join', []]);
      expect(JSON.stringify(frame).length).toBeLessThan(263_000);
      const [, payload] = frame ?? [];
      for (const user of (payload as Lobby).users) shown.add(user);
      // The last names are in the last part.
      presence.departed(names.at(-1 - part) ?? '');
      presence.arrived(`late ${part}`);
      if (part < parts - 1) tick();
    }
    expect(shown).toEqual(new Set(names));
    await slow.take();
    expect(await watching).toBe(20_000);
    tick();
    const told = new Map(slow.frames.map(([event, payload]) => [event, (payload as Lobby).users]));
    expect(told.get('presence:leave')?.toSorted()).toEqual(names.slice(-parts).toSorted());
    expect(told.get('presence:join')?.toSorted()).toEqual(['late 0', 'late 1', 'late 2', 'late 3']);
    presence.unwatch(slow);
    tick();
    expect(presence.balance).toMatchObject({ presenceChanges: 0, lobbyWatchers: 0 });
  });

  it('keep nothing of a connection that ends while the list is shown', async () => {
    const { presence, tick } = setUp();
    presence.arrived('anna');
    const slow = new SlowConnection('slow');
    slow.unsentBytes = 1;
    const watching = presence.watch(slow);
    presence.arrived('ben');
    tick();
    expect(presence.balance).toMatchObject({ presenceChanges: 1, lobbyWatchers: 1 });
    presence.unwatch(slow);
    await slow.take();
    expect(await watching).toBe(1);
    tick();
    expect(slow.frames).toEqual([]);
    expect(presence.balance).toMatchObject({ presenceChanges: 0, lobbyWatchers: 0 });
  });

  it('include everybody when a whole crowd leaves at once', () => {
    const { clock, presence, tick } = setUp();
    const crowd = range(1, 200_000).map((n) => `user${n}`);
    const watcher = new Watcher('watcher', presence);
    for (const user of crowd) presence.arrived(user);
    tick();
    expect(watcher.frames).toHaveLength(1);
    const [, joined] = watcher.frames.pop() ?? [];
    expect((joined as Lobby).users).toHaveLength(crowd.length);
    for (const user of crowd) presence.departed(user);
    clock.time += GRACE_MS;
    tick();
    expect(watcher.frames).toHaveLength(1);
    const [event, left] = watcher.frames.pop() ?? [];
    expect([event, (left as Lobby).users.length]).toEqual(['presence:leave', crowd.length]);
  });

  it('come by themselves between open() and close(), at most four a second', () => {
    jest.useFakeTimers();
    try {
      const presence = new Presence(
        clockAt(() => Date.now()),
        0,
      );
      const watcher = new FakeConnection('watcher');
      show(presence, watcher);
      presence.open();
      for (const n of range(1, 1_000)) {
        presence.arrived(`user${n}`);
        if (n > 1) presence.departed(`user${n - 1}`);
        jest.advanceTimersByTime(10);
      }
      // Ten seconds.
      expect(watcher.frames.length).toBeGreaterThan(10);
      expect(watcher.frames.length).toBeLessThanOrEqual(40);
      presence.close();
      const { length } = watcher.frames;
      presence.arrived('late');
      jest.advanceTimersByTime(60_000);
      expect(watcher.frames).toHaveLength(length);
    } finally {
      jest.useRealTimers();
    }
  });

  it('do not go to connections that have unsubscribed', () => {
    const { presence, tick } = setUp();
    const watcher = new FakeConnection('watcher');
    show(presence, watcher);
    presence.arrived('anna');
    presence.unwatch(watcher);
    tick();
    expect(watcher.frames).toEqual([]);
  });
});

describe.each(TRANSPORTS)('over %s', (name, connect) => {
  it('a connection that ends before its turn to watch has come is not kept', async () => {
    const service = await startService();
    for (let n = 0; n < 20; n += 1) {
      const client = await connect(service, `user-${n}`);
      const gone = [
        client.call('history', { topic: '*' }),
        client.call(name === 'Socket.IO' ? 'presence:subscribe' : 'presence'),
      ];
      client.close();
      for (const reply of gone) reply.catch(() => undefined);
    }
    // That nothing is kept is what every service is asked when it stops.
    await service.api.get('/websocket/users/connected').expect(200);
  });
});
