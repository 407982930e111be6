import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { CountingClock, delay, systemClock } from '../../utils/clock';
import { VirtualClock } from '../support/clock';
import { sourceFiles } from '../support/sources';

const ROOT = join(__dirname, '../..');

describe('the clock of the machine', () => {
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  it.each([2 ** 31, 2 ** 40, Number.POSITIVE_INFINITY])('waits when it is asked to wait for %p ms', (milliseconds) => {
    const work = jest.fn();
    systemClock.after(milliseconds, work);
    systemClock.every(milliseconds, work);
    jest.advanceTimersByTime(60_000);
    expect(work).not.toHaveBeenCalled();
  });

  it('does not run what was cancelled', () => {
    const work = jest.fn();
    const timers = [systemClock.after(10, work), systemClock.every(10, work)];
    for (const timer of [...timers, ...timers]) timer.cancel();
    jest.advanceTimersByTime(1_000);
    expect(work).not.toHaveBeenCalled();
  });
});

describe('a virtual clock', () => {
  it('runs what is due in order, at its time, and what that starts as well', async () => {
    const clock = new VirtualClock(0);
    const ran: [string, number][] = [];
    const note = (name: string) => ran.push([name, clock.now()]);
    clock.every(40, () => note('every 40'));
    clock.after(50, () => {
      note('after 50');
      void delay(clock, 25).then(() => note('after 25 more'));
    });
    clock.after(40, () => note('after 40'));
    await clock.advance(100);
    expect(ran).toEqual([
      ['every 40', 40],
      ['after 40', 40],
      ['after 50', 50],
      ['after 25 more', 75],
      ['every 40', 80],
    ]);
    expect(clock.now()).toBe(100);
  });

  it('jumps: what is due runs once', () => {
    const clock = new VirtualClock(0);
    const work = jest.fn();
    clock.every(10, work);
    clock.jump(1_000);
    expect(work).toHaveBeenCalledTimes(1);
  });
});

it('counts the timers that wait', async () => {
  const virtual = new VirtualClock(0);
  const clock = new CountingClock(virtual);
  const every = clock.every(10, () => {});
  const after = clock.after(10, () => {});
  clock.after(15, () => {});
  expect(clock).toMatchObject({ repeating: 1, waiting: 2 });
  after.cancel();
  expect(clock.waiting).toBe(1);
  await virtual.advance(20);
  every.cancel();
  expect(clock).toMatchObject({ repeating: 0, waiting: 0 });
  expect(virtual.timers).toBe(0);
});

/** Biome refuses the globals; these are the other ways to the time. */
const BARE_TIME = [
  /\bDate\.now\b/,
  /\bnew Date\(\)/,
  /\bset(?:Timeout|Interval)\b/,
  /\bperformance\b/,
  /'node:perf_hooks'/,
];

it('is the only source of time and timers in the service', () => {
  const files = sourceFiles(['application.ts', 'server.ts', 'features', 'handlers', 'services', 'utils']);
  const bare = files
    .filter((file) => relative(ROOT, file) !== join('utils', 'clock.ts'))
    .filter((file) => BARE_TIME.some((pattern) => pattern.test(readFileSync(file, 'utf8'))));
  expect(bare).toEqual([]);
  expect(files.length).toBeGreaterThan(100);
});
