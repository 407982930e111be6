/** The guard of the heap, and what is refused while memory is short, through every door. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import pino from 'pino';
import { HeapGuard, type Measure, readMemory } from '../../../services/admission/heap-guard';
import type { Clock } from '../../../utils/clock';
import { captureLog } from '../../support/captured-log';
import { VirtualClock } from '../../support/clock';
import { scrape } from '../../support/metrics';
import { connectPlain, openPlain } from '../../support/plain-client';
import { refusalOf } from '../../support/raw-socket';
import { range, startService, testToken } from '../../support/service';

const MIB = 1024 * 1024;
const LIMIT = 1_000 * MIB;
/** A tenth is kept; a body of a megabyte may become 24. */
const LINE = 900 * MIB;

/** Forgets its readings at once, unless another clock is given. */
function createGuard({ maxBodyBytes = MIB, limit = LIMIT, others = [] as Measure[], after = atOnce } = {}) {
  const heap = { used: 100 * MIB, garbage: 0 };
  let now = 0;
  let collections = 0;
  let looks = 0;
  const log = captureLog();
  const guard = new HeapGuard({
    maxBodyBytes,
    logger: log.logger,
    readMemory: () => {
      looks += 1;
      return [{ used: heap.used + heap.garbage, limit }, ...others];
    },
    collect: () => {
      collections += 1;
      heap.garbage = 0;
    },
    clock: { steady: () => now, after },
  });
  const wait = (milliseconds: number) => {
    now += milliseconds;
  };
  return { guard, heap, wait, log, collections: () => collections, looks: () => looks };
}

const usedNow = () => readMemory()[1]?.used ?? 0;

const atOnce: Clock['after'] = (_milliseconds, work) => {
  work();
  return { cancel: () => undefined };
};

describe('the line', () => {
  it('is reached with nine tenths in use', () => {
    const { guard, heap } = createGuard();
    heap.used = LINE;
    expect(guard.isShort()).toBe(false);
    heap.used = LINE + 1;
    expect(guard.isShort()).toBe(true);
  });

  it('leaves room for the worst body', () => {
    const { guard, heap } = createGuard({ maxBodyBytes: 10 * MIB });
    heap.used = 760 * MIB;
    expect(guard.isShort()).toBe(false);
    heap.used += 1;
    expect(guard.isShort()).toBe(true);
  });

  it('leaves half of a heap that is too small for that', () => {
    const { guard, heap } = createGuard({ limit: 40 * MIB });
    heap.used = 20 * MIB;
    expect(guard.isShort()).toBe(false);
  });

  it('is not reached by garbage, which is collected at most every two seconds', () => {
    const { guard, heap, wait, collections } = createGuard();
    heap.garbage = LIMIT;
    expect([guard.isShort(), collections()]).toEqual([false, 1]);
    heap.garbage = LIMIT;
    wait(1_999);
    expect([guard.isShort(), collections()]).toEqual([true, 1]);
    wait(1);
    expect([guard.isShort(), collections()]).toEqual([false, 2]);
  });

  it('is reached by whatever has the least room', () => {
    const container = { used: 400 * MIB, limit: 500 * MIB };
    const { guard } = createGuard({ others: [container] });
    expect(guard.isShort()).toBe(false);
    container.used = 451 * MIB;
    expect(guard.isShort()).toBe(true);
  });

  it('is read at intervals, however often it is asked, and again for a large body', async () => {
    const clock = new VirtualClock();
    const { guard, heap, looks } = createGuard({ after: (milliseconds, work) => clock.after(milliseconds, work) });
    for (const _ask of range(1, 100)) guard.isShort();
    guard.take(1_000);
    expect(looks()).toBe(1);
    heap.used = LINE + 1;
    expect(() => guard.take(MIB)).toThrow('short of memory');
    heap.used = 0;
    await clock.advance(50);
    expect(guard.isShort()).toBe(false);
    // Nothing keeps running when nobody asks any more.
    await clock.advance(50);
    expect(clock.timers).toBe(0);
  });

  it('counts what hangs on the heap: bytes outside it are used too', () => {
    const guard = new HeapGuard({ maxBodyBytes: 1, logger: captureLog().logger });
    const before = usedNow();
    const outside = Buffer.alloc(64 * MIB);
    expect(usedNow() - before).toBeGreaterThan(48 * MIB);
    expect([outside.length, guard.isShort()]).toEqual([64 * MIB, false]);
  });

  it('is reached by the real heap in no test', () => {
    const { logger } = captureLog();
    expect(new HeapGuard({ maxBodyBytes: MIB, logger }).isShort()).toBe(false);
  });

  it('has V8 collect where nothing else was given', async () => {
    const { logger } = captureLog();
    const garbage = new WeakRef({});
    await nextTurn();
    new HeapGuard({ maxBodyBytes: 1, logger, readMemory: () => [{ used: 2, limit: 1 }] }).isShort();
    expect(garbage.deref()).toBeUndefined();
  });
});

describe('bodies in progress', () => {
  it('count with 32 times their size until they are done', () => {
    const { guard, heap } = createGuard();
    heap.used = LINE - 64 * MIB;
    const done = guard.take(MIB);
    const doneToo = guard.take(MIB);
    expect(() => guard.take(1)).toThrow('short of memory');
    done();
    done();
    guard.take(MIB);
    expect(() => guard.take(1)).toThrow('short of memory');
    doneToo();
  });

  it('always admit a single one, whatever its size, as long as there is any room', () => {
    const { guard, heap } = createGuard();
    heap.used = LINE;
    guard.take(500 * MIB)();
    heap.used += 1;
    expect(() => guard.take(1)).toThrow('short of memory');
  });
});

it('logs when it begins and when it is over', () => {
  const { guard, heap, log } = createGuard();
  for (const used of [0, LIMIT, LIMIT, 0, 0]) {
    heap.used = used;
    guard.isShort();
  }
  expect(
    log.lines.map((line) => JSON.parse(line) as Record<string, unknown>).map(({ level, msg }) => [level, msg]),
  ).toEqual([
    [pino.levels.values['error'], 'memory is nearly full: requests that need more are refused'],
    [pino.levels.values['warn'], 'memory has room again'],
  ]);
});

it('is asked at every door, and connected clients stay', async () => {
  const { guard, heap } = createGuard();
  const { url, api, anonymous, send, connect } = await startService({ overrides: { heap: guard } });
  const client = await connect('anna', { device: 'phone' });
  const plain = await connectPlain(url, 'anna');
  await send('anna', [1]);
  const { topic, seq } = await client.next('message');

  heap.used = LIMIT;
  const problem = { status: 503, code: 'overloaded' };
  const body = { userId: 'anna', type: 'test', data: 2 };
  const refused = await api.post('/websocket/message/user').send(body).expect(503);
  expect(refused.body).toMatchObject(problem);
  expect(refused.headers['retry-after']).toBe('5');
  await api.get('/inbox').expect(503);
  await anonymous.get('/readyz').expect(503, { status: 'overloaded', store: 'ok', live: 'ok' });
  await anonymous.get('/livez').expect(200);
  expect(await client.call('message', { to: 'anna', type: 'test', data: 3 })).toMatchObject({
    ok: false,
    error: problem,
  });
  expect(await plain.call('ping')).toMatchObject({ ok: false, error: problem });
  expect(await client.call('ack', { topic, seq })).toEqual({ ok: true });
  expect((await refusalOf(url, {})).text).toContain('overloaded');
  const newcomer = openPlain(url, { headers: { Authorization: `Bearer ${testToken('ben')}` } });
  expect(await newcomer.closed).toEqual({ code: 1013, reason: 'overloaded' });
  expect((await scrape(url)).value('tidings_refusals_total{code="overloaded"}')).toBe(6);

  heap.used = 0;
  await anonymous.get('/readyz').expect(200);
  await send('anna', [4]);
  expect(await client.next('message')).toMatchObject({ data: { n: 4 } });
  expect(await plain.messages(2)).toMatchObject([{ data: { n: 1 } }, { data: { n: 4 } }]);
});
