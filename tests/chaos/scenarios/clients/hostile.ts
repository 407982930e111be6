/** Valid clients that misbehave in every way that a token without scopes allows, beside people who do not. */
import { readMemory } from '../../../../bench/support/process-stats';
import { testToken } from '../../../support/service';
import { examine, type Findings } from '../../findings';
import { Crowd } from '../../hostile/crowd';
import { AttackersProcess } from '../../hostile/process';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { ask, metricOf } from '../../rest';
import type { Figures, Outcome, Scenario } from '../../scenario';
import { until } from '../../until';

const DURATION_MS = 120_000;
const PEOPLE = 500;
const SENDS_PER_SECOND = 100;
const MAX_LATENCY_MS = 250;
const MAX_RSS_MIB = 600;
const GLUTTON = 'glutton';
const LARGE_MESSAGES = 200;
const LARGE_BYTES = 64_000;
const SAMPLE_MS = 200;
const PATIENCE_MS = 60_000;

async function run(): Promise<Outcome> {
  // As it is without settings.
  const node = await startOne({ env: { RATE_LIMIT_PER_MINUTE: '600', RATE_LIMIT_SERVICE_PER_MINUTE: '60000' } });
  return examine([node], async (findings) => {
    await fillInbox(node.url);
    const crowd = new Crowd(node.url, PEOPLE);
    await crowd.connect();
    const before = await placesTaken(node);
    const { tries, rssMiB } = await attackBeside(crowd, node);
    const faults = await crowd.findFaults();
    judge(findings, crowd, { ...faults, rssMiB });
    for (const [name, count] of Object.entries(tries)) findings.wasTried(count > 0, name);
    await until(
      'the places of the others are given back',
      PATIENCE_MS,
      () => placesTaken(node),
      (now) => now === before,
    );
    crowd.close();
    return figuresOf(crowd, rssMiB, tries);
  });
}

async function attackBeside(crowd: Crowd, node: ChaosNode): Promise<{ tries: Record<string, number>; rssMiB: number }> {
  const { pid } = node.process.child;
  const attackers = await AttackersProcess.start();
  let rssMiB = 0;
  const watch = setInterval(() => {
    rssMiB = Math.max(rssMiB, readMemory(Number(pid)).rssKiB / 1_024);
  }, SAMPLE_MS);
  attackers.begin({ url: node.url, glutton: GLUTTON });
  await crowd.send(SENDS_PER_SECOND, DURATION_MS);
  const tries = await attackers.end();
  clearInterval(watch);
  return { tries, rssMiB: Math.round(rssMiB) };
}

function judge(
  findings: Findings,
  crowd: Crowd,
  { missing, repeated, rssMiB }: { missing: string[]; repeated: string[]; rssMiB: number },
): void {
  findings.expectSame(missing, [], 'what was answered 2xx and has not come');
  findings.expectSame(repeated, [], 'what came more than once');
  findings.expectSame(crowd.refusals, 0, 'sends that were refused');
  findings.expectSame(crowd.lost, 0, 'connections of others that ended');
  findings.takesAtMost('a message to its reader (p99)', quantile(crowd.latenciesMs, 0.99), MAX_LATENCY_MS);
  findings.expect(rssMiB < MAX_RSS_MIB, `the process took ${rssMiB} MiB, at most ${MAX_RSS_MIB} are allowed`);
}

function figuresOf(crowd: Crowd, rssMiB: number, tries: Record<string, number>): Figures {
  return {
    people: PEOPLE,
    sends: crowd.sends,
    'ms to a reader, p50': Math.round(quantile(crowd.latenciesMs, 0.5)),
    'ms to a reader, p99': Math.round(quantile(crowd.latenciesMs, 0.99)),
    'MiB at most': rssMiB,
    ...tries,
  };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

async function fillInbox(url: string): Promise<void> {
  const data = 'x'.repeat(LARGE_BYTES);
  for (let sent = 0; sent < LARGE_MESSAGES; sent += 10) {
    const messages = Array.from({ length: 10 }, () => ({ userId: GLUTTON, type: 'large', data }));
    await ask(`${url}/messages/batch`, {
      method: 'POST',
      body: { messages },
      token: testToken('shop', { scope: 'send' }),
    });
  }
}

function placesTaken({ url }: ChaosNode): Promise<number> {
  return metricOf(url, 'tidings_places_taken');
}

export const HOSTILE: readonly Scenario[] = [
  {
    id: 'F37',
    fault: 'valid clients misbehave in every way that a token without scopes allows',
    injected: `${PEOPLE} people are sent ${SENDS_PER_SECOND} messages a second for ${DURATION_MS / 1_000} s; meanwhile answers and histories stay unread, expensive reads are requested endlessly, devices are made up, handshakes reset, messages replaced`,
    expected: `nobody else is refused or cut, p99 to a reader below ${MAX_LATENCY_MS} ms, memory below ${MAX_RSS_MIB} MiB, all places released, nothing lost`,
    needs: [],
    tells: ['ms to a reader, p99', 'MiB at most'],
    run,
  },
];
