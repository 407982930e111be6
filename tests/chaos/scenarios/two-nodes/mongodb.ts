/** MongoDB cannot be reached, or answers are lost: F24, F25. */
import { newDatabase } from '../../../support/cluster';
import type { Random } from '../../../support/random';
import { startRepeatingProxy } from '../../../support/repeating-proxy';
import type { TcpProxy } from '../../../support/tcp-proxy';
import type { Findings } from '../../findings';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { type Pair, runWithPair, type Said } from '../../pair';
import type { Outcome, Scenario } from '../../scenario';
import { runRoundOnNodes, startNodes, startWay } from '../../two-nodes';
import { pace, until } from '../../until';

/** As long as an election takes: shorter than a node looks for a primary. */
const ELECTION_MS: readonly [number, number] = [200, 1_500];
/** A store call is given up after 10 s. */
const DEADLINE_MS = 11_000;
const RECOVERY_MS = 10_000;
const PARALLEL = 3;

async function runAway(random: Random): Promise<Outcome> {
  const storeUrl = newDatabase();
  const { proxy, url } = await startWay(storeUrl);
  const two = await startNodes({ storeUrl, env: { STORE_URL: url } });
  return runWithPair(two, async (pair, findings) => {
    await (await pair.say()).far;
    const electionMs = random.integer(...ELECTION_MS);
    const electedMs = await elect(pair, findings, { proxy, electionMs });
    const refused = await lose(pair, findings, { proxy, two: two.nodes, fault: 'cut' });
    const silent = await lose(pair, findings, { proxy, two: two.nodes, fault: 'hang' });
    return {
      'ms of an election': electionMs,
      'ms of a send during it': Math.round(electedMs),
      'ms until 503, refused': Math.round(refused.ms),
      'ms until 503, silent': Math.round(silent.ms),
      'ms until ready again': Math.round(Math.max(refused.readyMs, silent.readyMs)),
    };
  });
}

/** Down for a moment: senders notice only that it takes a moment. */
async function elect(
  pair: Pair,
  findings: Findings,
  { proxy, electionMs }: { readonly proxy: TcpProxy; readonly electionMs: number },
): Promise<number> {
  proxy.cut();
  const sends = sayOnBoth(pair);
  await pace(electionMs);
  proxy.restore();
  const said = await sends;
  for (const { status, body } of said) {
    findings.expect(status === 200, `a send during an election was answered ${status} ${body['code']}`);
  }
  return longest(said);
}

/** Down for good, as far as anybody can tell; back when every send was answered. */
async function lose(
  pair: Pair,
  findings: Findings,
  {
    proxy,
    two,
    fault,
  }: { readonly proxy: TcpProxy; readonly two: readonly ChaosNode[]; readonly fault: 'cut' | 'hang' },
): Promise<{ readonly ms: number; readonly readyMs: number }> {
  proxy[fault]();
  const first = pair.count + 1;
  const [said] = await Promise.all([sayOnBoth(pair), ...two.map((node) => expectNotReady(node, findings))]);
  for (const { status, body, answeredMs } of said) {
    const answer = `${status} ${body['code']}`;
    findings.expect(answer === '503 store_unavailable', `a send without MongoDB was answered ${answer}`);
    findings.takesAtMost('a send without MongoDB', answeredMs, DEADLINE_MS);
  }
  proxy.restore();
  const restoredAt = performance.now();
  for (const node of two) await node.healthy();
  const readyMs = performance.now() - restoredAt;
  findings.takesAtMost('recovery', readyMs, RECOVERY_MS);
  // What was refused may have been stored: repeated, it exists once.
  for (let send = first; send <= pair.count; send += 1) await sayAgain(pair, findings, send);
  return { ms: longest(said), readyMs };
}

async function expectNotReady({ name, url }: ChaosNode, findings: Findings): Promise<void> {
  const readiness = await request(`${url}/readyz`, { timeoutMs: DEADLINE_MS });
  findings.expect(readiness?.status === 503, `${name} was ready without MongoDB: ${readiness?.status}`);
}

async function sayAgain(pair: Pair, findings: Findings, send: number): Promise<void> {
  const { status, far, near } = await until(
    `send ${send} is answered`,
    DEADLINE_MS,
    () => pair.sayAgain(send, send % 2 === 0 ? 0 : 1),
    (said) => said.status !== 409,
  );
  findings.expect(status === 200, `a send that had been refused was answered ${status} when it was tried again`);
  await Promise.all([near, far]);
}

function sayOnBoth(pair: Pair): Promise<Said[]> {
  return Promise.all(Array.from({ length: PARALLEL * 2 }, (_, index) => pair.say(index % 2 === 0 ? 0 : 1)));
}

function longest(said: readonly Said[]): number {
  return Math.max(...said.map(({ answeredMs }) => answeredMs));
}

const LOAD_MS = 2_000;
const REPEATED_ONE_IN = 3;

/** A load on both nodes, in which one insert in three is carried out twice. */
async function runRepeated(random: Random): Promise<Outcome> {
  const storeUrl = newDatabase();
  const { hostname, port } = new URL(storeUrl);
  const proxy = await startRepeatingProxy({ host: hostname, port: Number(port) }, { random, oneIn: REPEATED_ONE_IN });
  const env = { STORE_URL: storeUrl.replace(`${hostname}:${port}`, `127.0.0.1:${proxy.port}`) };
  const outcome = await runRoundOnNodes({
    random,
    loadMs: LOAD_MS,
    start: () => startNodes({ storeUrl, env }),
    disturb: async () => {},
  });
  const { repeated, duplicates } = proxy.counts;
  // A server that recognizes repeated writes by their number answers as the first time: no duplicate then.
  const wasTried = repeated > 0;
  return {
    ...outcome,
    violations: [...outcome.violations, ...(wasTried ? [] : ['nothing was tried: no insert was repeated'])],
    figures: { ...outcome.figures, 'inserts repeated': repeated, 'reported as duplicates': duplicates },
  };
}

export const MONGODB_AWAY: readonly Scenario[] = [
  {
    id: 'F24',
    fault: 'MongoDB is down, for a moment as in an election, or for long',
    injected: 'a proxy between both nodes and MongoDB that resets and refuses connections, or falls silent',
    expected:
      'a moment: sends wait and are answered 200; longer: 503 within 11 s, readiness red, connections stay; recovers by itself, and repeated sends are stored once',
    needs: ['mongodb', 'redis'],
    tells: ['ms until 503, refused', 'ms until 503, silent', 'ms until ready again'],
    run: runAway,
  },
  {
    id: 'F25',
    fault: 'the answer to an insert is lost, and the driver repeats the write',
    injected: `a proxy that carries out one insert in ${REPEATED_ONE_IN} twice, and passes on the second answer`,
    expected: 'its own duplicate counts as success: one id, one seq',
    needs: ['mongodb', 'redis'],
    tells: ['inserts repeated', 'reported as duplicates'],
    run: runRepeated,
  },
];
