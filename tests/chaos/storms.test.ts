/** F11 and F17 in small: how they are in full, see bench/README.md. */
import { seededRandom } from '../support/random';
import { runSlowReaders, runStorm } from './storms';

const MIB = 1_024 ** 2;

it('F11: slow readers are cut, what waited for them is freed, and everybody gets everything', async () => {
  const report = await runSlowReaders({ ofEachKind: 1, others: 4, maxBufferedBytes: 2 * MIB });
  expect(report.violations).toEqual([]);
  // A run in which nothing had to wait would prove nothing.
  expect(report.heldBytes.most).toBeGreaterThan(report.heldBytes.before + 2 * MIB);
});

it('F17: 300 clients that come back at once all get in, and get what waits for them, in order and in turn', async () => {
  const report = await runStorm({ clients: 300, waiting: 10, random: seededRandom('storm') });
  expect(report.violations).toEqual([]);
});
