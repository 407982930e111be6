/** `npm run soak`: what counts as growth, what as a fault, and that it finds a leaking service. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { soak } from '../../scripts/soak';
import { Ledger, Recipient } from '../../scripts/support/soak/ledger';
import { judge, type Point, studentQuantile, trendOf, withoutWarmUp } from '../../scripts/support/soak/trend';
import { seededRandom } from '../support/random';
import { range } from '../support/service';
import { temporaryDirectory } from '../support/temporary';
import { runToEnd } from './commands';

/** 145 readings in 24 minutes: those of half an hour that are judged. */
const READINGS = range(0, 144);
const HOURS = 0.4;
const TOLERANCE = { perHour: 4, inAll: 1.6 };

function series(valueAt: (share: number, index: number) => number): Point[] {
  return READINGS.map((index) => {
    const share = index / (READINGS.length - 1);
    return { hours: share * HOURS, value: valueAt(share, index) };
  });
}

function verdictOn(points: readonly Point[]) {
  return judge(trendOf(points), TOLERANCE);
}

describe('a series of readings', () => {
  const random = seededRandom('soak');
  const noise = (size: number) => (random.integer(-1_000, 1_000) / 1_000) * size;
  const wander = () => {
    let place = 40;
    return series(() => {
      place += noise(0.2);
      return place;
    });
  };

  it('is flat when it is noise', () => expect(verdictOn(series(() => 40 + noise(3)))).toBe('flat'));

  it('is flat when it does not move at all', () => expect(verdictOn(series(() => 40))).toBe('flat'));

  it('grows with a leak below the noise of a single reading', () => {
    expect(verdictOn(series((share) => 40 + 6 * share + noise(3)))).toBe('growing');
  });

  it('grows with a leak and nothing else', () => {
    expect(verdictOn(series((share) => 40 + 3 * share))).toBe('growing');
  });

  it('is flat when it grows by less than is allowed, however surely', () => {
    expect(verdictOn(series((share) => 40 + 1.5 * share + noise(0.1)))).toBe('flat');
  });

  it('is flat as a sawtooth, wherever it begins and ends', () => {
    for (const phase of [0, 0.25, 0.5, 0.75]) {
      expect(verdictOn(series((share) => 40 + 10 * ((share * 7 + phase) % 1)))).toBe('flat');
    }
  });

  it('grows as a sawtooth that rises', () => {
    expect(verdictOn(series((share) => 40 + 20 * share + 5 * ((share * 24) % 1)))).toBe('growing');
  });

  it('is flat when it wanders: correlated readings are worth fewer', () => {
    const walks = range(1, 200).map(() => verdictOn(wander()));
    const suspected = walks.filter((verdict) => verdict === 'growing').length;
    // Every third would be, if each reading counted as one.
    expect(suspected).toBeLessThan(20);
  });

  it('is flat when it warms up first, once that is left out', () => {
    const points = series((share) => 40 + 100 * Math.min(share, 0.2) + noise(0.5));
    expect(verdictOn(points.slice(0, 29))).toBe('growing');
    expect(verdictOn(withoutWarmUp(points, 0.2))).toBe('flat');
  });

  it('is flat when it shrinks', () => expect(verdictOn(series((share) => 60 - 20 * share))).toBe('flat'));

  it('is too short with four readings', () => {
    expect(judge(trendOf(series((share) => share).slice(0, 4)), TOLERANCE)).toBe('too short');
  });

  it('has its slope in the interval at the stated share', () => {
    const misses = range(1, 500).filter(() => {
      const trend = trendOf(series((share) => 10 * share + noise(5)));
      return trend === undefined || trend.low > 25 || trend.high < 25;
    });
    // One in a hundred: 5, and 15 by the luck of one in ten thousand.
    expect(misses.length).toBeLessThanOrEqual(15);
  });

  // From a table of Student's distribution.
  it.each([
    [1, 63.657],
    [2, 9.925],
    [3, 5.841],
    [5, 4.032],
    [10, 3.169],
    [30, 2.75],
    [120, 2.617],
  ])('has the quantile of %i degrees of freedom', (freedom, expected) => {
    expect(Math.abs(studentQuantile(0.995, freedom) / expected - 1)).toBeLessThan(0.02);
  });
});

describe('the ledger', () => {
  function open() {
    const ledger = new Ledger();
    const anna = new Recipient('anna/phone', 'anna', true);
    const ben = new Recipient('ben/(no name)', 'ben', false);
    ledger.enter('anna', anna);
    ledger.enter('ben', ben);
    ledger.setMembers('room', ['anna']);
    return { ledger, anna, ben };
  }

  function take(recipient: Recipient, ...deliveries: readonly (readonly [seq: number, n: number])[]): void {
    for (const [seq, n] of deliveries) recipient.take('*', seq, n);
  }

  it('accepts what has arrived as it was answered, again after a reconnect too', () => {
    const { ledger, anna } = open();
    for (const [n, topic] of [
      [1, '@anna'],
      [2, '*'],
      [3, 'room'],
    ] as const) {
      ledger.accept(n, topic, 7);
      anna.take(topic, 7, n);
    }
    anna.connected();
    anna.take('room', 7, 3);
    expect(ledger.findFaults()).toEqual([]);
    expect(ledger).toMatchObject({ accepted: 3, expected: 3, missing: 0, delivered: 4 });
  });

  it.each<[string, (parts: ReturnType<typeof open>) => void, string]>([
    ['is lost', ({ ledger }) => ledger.accept(1, '@anna', 1), 'anna/phone has lost message 1'],
    ['is lost in a topic', ({ ledger }) => ledger.accept(1, 'room', 1), 'anna/phone has lost message 1'],
    ['came twice', ({ anna }) => take(anna, [1, 1], [1, 1]), 'got * 1 after 1 on one connection'],
    ['came out of order', ({ ben }) => take(ben, [2, 2], [1, 1]), 'got * 1 after 2'],
    ['is stored twice', ({ ben }) => take(ben, [1, 9], [2, 9]), 'got message 9 as * 1 and 2'],
    ['is not theirs', ({ ben }) => ben.take('@anna', 1, 1), 'ben/(no name) got @anna, which is not theirs'],
    [
      'is not where the sender was told',
      ({ ledger, anna }) => {
        ledger.accept(1, '@anna', 4);
        anna.take('@anna', 5, 1);
      },
      'got message 1 as 5, and the sender was told 4',
    ],
    ['was not answered', ({ ledger }) => ledger.complain('answered 500'), 'answered 500'],
  ])('finds what %s', (_name, happen, sentence) => {
    const parts = open();
    happen(parts);
    expect(parts.ledger.findFaults()).toEqual([expect.stringContaining(sentence)]);
  });

  it('misses nothing of a client that is promised nothing, or nothing any more', () => {
    const { ledger, anna } = open();
    ledger.accept(1, '@ben', 1);
    ledger.accept(2, '@anna', 1);
    anna.release();
    ledger.accept(3, '@anna', 2);
    expect(ledger.findFaults()).toEqual([]);
  });
});

describe('a run', () => {
  const ARGS = ['--minutes', '0.05', '--users', '20', '--rate', '10'];

  it('finds nothing in the service as it is', async () => {
    const { code, stdout } = await runToEnd(soak, ARGS);
    expect(stdout).toContain('Nothing grows, nothing was lost, nothing came twice.');
    expect(stdout).toMatch(/^\| open descriptors /m);
    expect(stdout).toMatch(
      /^[1-9]\d* requests \(\d+ held back: too many unanswered\), [1-9]\d* counted messages accepted, [1-9]\d* deliveries/m,
    );
    expect(stdout).toContain(' 0 of those that were to stay broke.');
    expect(code).toBe(0);
  });

  it('finds a service wanting that leaks memory, timers and descriptors', async () => {
    const leak = join(temporaryDirectory(), 'leak.cjs');
    writeFileSync(
      leak,
      `const kept = [];
       setInterval(() => {
         kept.push(Array.from({ length: 20_000 }, Math.random), require('node:fs').openSync('/dev/null'));
         setTimeout(() => {}, 1e9);
       }, 50).unref();`,
    );
    const { code, stdout } = await runToEnd(soak, ARGS, { env: { NODE_OPTIONS: `--require ${leak}` } });
    expect(stdout).toMatch(/^- heap after collection, MiB: grows by /m);
    expect(stdout).toMatch(/^- open descriptors: /m);
    expect(stdout).toMatch(/^- timers: /m);
    expect(code).toBe(1);
  });

  it.each([
    [[], '--minutes is required'],
    [['--minutes', 'ten'], '--minutes must be a number'],
    [['--minutes', '0'], '--minutes must be a number'],
    [['--minutes', '1', '--users', '3'], '--users must be a whole number from 20'],
    [['--minutes', '1', '--rate', '0'], '--rate must be a whole number from 1'],
  ])('says what is wrong with %j', async (args, words) => {
    const { code, stdout, stderr } = await runToEnd(soak, args);
    expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining(words) });
  });

  it('prints its usage', async () => {
    const { code, stdout } = await runToEnd(soak, ['--help']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('npm run soak -- --minutes N') });
  });
});
