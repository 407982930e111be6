/** Clients that do not read, and clients that all come at once. */
import type { Random } from '../../../support/random';
import type { Outcome, Scenario } from '../../scenario';
import { withSlack } from '../../slack';
import { runSlowReaders, runStorm } from '../../storms';

const MIB = 1_024 ** 2;
const MAX_BUFFERED_BYTES = 2 * MIB;
const CROWD = 300;
const MAX_LOOP_DELAY_MS = 200;
const WAITING = 10;

async function runSlow(): Promise<Outcome> {
  const { messages, heldBytes, violations } = await runSlowReaders({
    ofEachKind: 1,
    others: 4,
    maxBufferedBytes: MAX_BUFFERED_BYTES,
  });
  const { before, most, after } = heldBytes;
  const hasWaited = most > before + MAX_BUFFERED_BYTES;
  return {
    violations: hasWaited ? violations : [...violations, 'nothing was tried: nothing had to wait for the slow readers'],
    figures: { messages, 'MiB held at most': toMiB(most - before), 'MiB held after': toMiB(after - before) },
  };
}

async function runCrowd(random: Random): Promise<Outcome> {
  const { doneMs, loopDelayMs, rssBytes, overtaken, violations } = await runStorm({
    clients: CROWD,
    waiting: WAITING,
    random,
  });
  const isHeldUp = loopDelayMs.p99 > withSlack(MAX_LOOP_DELAY_MS);
  return {
    violations: isHeldUp ? [...violations, `the event loop was held up for ${loopDelayMs.p99} ms (p99)`] : violations,
    figures: {
      'ms until all had everything': Math.round(doneMs.last),
      'ms of loop delay, p99': Math.round(loopDelayMs.p99),
      'memory against steady': Math.round((100 * rssBytes.most) / rssBytes.steady) / 100,
      overtaken,
    },
  };
}

function toMiB(bytes: number): number {
  return Math.round((10 * bytes) / MIB) / 10;
}

export const CROWDS: readonly Scenario[] = [
  {
    id: 'F11',
    fault: 'readers that take nothing, or 1 KB/s',
    injected: 'paused sockets, and sockets read in small portions, over both transports, while large messages come',
    expected:
      'they receive `slow_consumer` where the connection takes it, are cut, and their backlog is freed; nobody else notices, nothing lost',
    needs: [],
    tells: ['MiB held at most', 'MiB held after'],
    run: runSlow,
  },
  {
    id: 'F17',
    fault: `${CROWD} clients come back at once, each with ${WAITING} messages waiting`,
    injected: 'the node is killed and restarted; all connect at the same moment (5,000 of them: `npm run bench`)',
    expected: 'no error, catch-up in turn, event-loop delay p99 below 200 ms, memory below twice the steady level',
    needs: [],
    tells: ['ms of loop delay, p99', 'memory against steady', 'overtaken'],
    run: runCrowd,
  },
];
