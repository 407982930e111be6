/** F1, F6 and F28: how a process ends, and what the next one finds. */
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request as startRequest } from 'node:http';
import { openClient, type TestClient } from '../../../support/client';
import { openPlain, type PlainClient } from '../../../support/plain-client';
import { type RunningProcess, runServer } from '../../../support/process';
import type { Random } from '../../../support/random';
import { range, TEST_SECRET, testToken } from '../../../support/service';
import { temporaryDirectory } from '../../../support/temporary';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { runRound, type Stage } from '../../round';
import type { Figures, Outcome, Scenario } from '../../scenario';
import { withSlack } from '../../slack';
import { pace } from '../../until';

const LOAD_MS = 2_000;
/** Starts take time, too: the load lasts for most of them. */
const KILLED_LOAD_MS = 5_000;
const KILLS = 7;

/** Killed repeatedly, each time at another moment of the load. */
async function runKilled(random: Random): Promise<Outcome> {
  const node = await startOne();
  const pauses = Array.from({ length: KILLS }, () => random.integer(20, KILLED_LOAD_MS / KILLS));
  let underLoad = 0;
  const disturb = async ({ load }: Stage) => {
    for (const milliseconds of pauses) {
      await pace(milliseconds);
      if (load.unanswered > 0) underLoad += 1;
      await node.kill(0);
    }
  };
  const outcome = await runRound({ random, nodes: [node], loadMs: KILLED_LOAD_MS, disturb });
  const violations =
    underLoad > 0 ? outcome.violations : [...outcome.violations, 'nothing was tried: no send was under way'];
  return {
    ...outcome,
    violations,
    figures: { ...outcome.figures, kills: KILLS, 'kills with sends under way': underLoad },
  };
}

const SHUTDOWN_TIMEOUT_MS = 6_000;
/** The rest of the request in flight comes well after the signal, and well before requests are cut. */
const REST_AFTER_MS = 300;
const WATCHERS = 15;
const MAX_RETRY_MS = 5_000;
const POLL_MS = 10;

async function runTold(random: Random): Promise<Outcome> {
  const node = await startOne({ env: { SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_TIMEOUT_MS) } });
  const violations: string[] = [];
  const figures: Record<string, number> = {};
  const disturb = async () => {
    await pace(random.integer(100, LOAD_MS));
    Object.assign(figures, await stop(node, violations));
    await node.startAgain();
  };
  const outcome = await runRound({ random, nodes: [node], loadMs: LOAD_MS, disturb });
  return {
    ...outcome,
    violations: [...violations, ...outcome.violations],
    figures: { ...outcome.figures, ...figures },
  };
}

/** Tells it to stop, and watches it from all sides until it has ended. */
async function stop(node: ChaosNode, violations: string[]): Promise<Figures> {
  const watchers = await watch(node.url);
  const inFlight = await beginRequest(node.url);
  const startedAt = performance.now();
  const ended = node.end('SIGTERM');
  const poll = pollReadiness(node.url);
  const [answered, ...refused] = await Promise.all([finish(inFlight), refusedSocket(node.url), refusedPlain(node.url)]);
  violations.push(...refused.filter((sentence) => sentence !== undefined));
  if (answered !== 200) violations.push(`a request in flight was answered ${answered}`);
  const told = await Promise.all(watchers.map((watcher) => watcher.ending));
  const { code, signal } = await ended;
  const stopMs = Math.round(performance.now() - startedAt);
  const redAt = await poll;
  if (code !== 0 || signal !== null) violations.push(`it ended with ${signal ?? code}`);
  if (stopMs > withSlack(SHUTDOWN_TIMEOUT_MS))
    violations.push(`it ended after ${stopMs} ms, of ${SHUTDOWN_TIMEOUT_MS}`);
  violations.push(...findUntold(told, redAt));
  return {
    'ms until ended': stopMs,
    'ms from red to closing': Math.round(Math.min(...told.map(({ at }) => at)) - (redAt ?? 0)),
  };
}

/** How a connection ended: what the client received, when, and how the end itself looked. */
interface Ending {
  readonly told: { readonly code?: unknown; readonly retryInMs?: unknown };
  readonly at: number;
  readonly isExpected: boolean;
}

async function watch(url: string): Promise<{ ending: Promise<Ending> }[]> {
  const watchers = range(1, WATCHERS).map(async (n) => {
    const token = testToken(`watcher ${n}`);
    const client = openClient(url, { auth: { token }, reconnection: false });
    const plain = openPlain(url, { path: `/ws?token=${token}` });
    await Promise.all([client.next('sync:done'), plain.next('sync:done')]);
    return [{ ending: endingOf(client) }, { ending: plainEndingOf(plain) }];
  });
  return (await Promise.all(watchers)).flat();
}

async function endingOf(client: TestClient): Promise<Ending> {
  const told = await client.next('closing');
  const at = performance.now();
  return { told, at, isExpected: (await client.next('disconnect')) === ('transport close' as unknown) };
}

async function plainEndingOf(client: PlainClient): Promise<Ending> {
  const told = await client.next('closing');
  const at = performance.now();
  return { told, at, isExpected: (await client.closed).code === 1001 };
}

function findUntold(told: readonly Ending[], redAt: number | undefined): string[] {
  const sentences: string[] = [];
  const first = Math.min(...told.map(({ at }) => at));
  if (redAt === undefined || redAt > first) sentences.push('clients were closed before /readyz was 503');
  const wrong = told.filter(({ told: { code }, isExpected }) => code !== 'going_away' || !isExpected);
  if (wrong.length > 0) sentences.push(`${wrong.length} clients were closed otherwise: ${JSON.stringify(wrong[0])}`);
  const delays = told.map(({ told: { retryInMs } }) => Number(retryInMs));
  const isSpread = Math.min(...delays) < MAX_RETRY_MS / 3 && Math.max(...delays) > (MAX_RETRY_MS * 2) / 3;
  if (!isSpread || delays.some((delay) => !(delay >= 0 && delay <= MAX_RETRY_MS))) {
    sentences.push(`clients were told to come back at ${delays}`);
  }
  return sentences;
}

/** Resolves to the moment at which `/readyz` was 503; `undefined` if it never was. */
async function pollReadiness(url: string): Promise<number | undefined> {
  for (;;) {
    const answer = await request(`${url}/readyz`);
    if (answer === undefined) return undefined;
    if (answer.status === 503) return performance.now();
    await pace(POLL_MS);
  }
}

/** A request of which a part has been sent. */
async function beginRequest(url: string): Promise<ClientRequest> {
  const inFlight = startRequest(`${url}/websocket/message/user`, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${testToken('slow', { scope: 'send' })}`,
      'Content-Type': 'application/json',
      'Transfer-Encoding': 'chunked',
    },
  });
  inFlight.write('{"userId":"somebody","type":"test","data":1');
  const [socket] = (await once(inFlight, 'socket')) as [NodeJS.EventEmitter];
  await once(socket, 'connect');
  // Input that is answered on another connection was read later.
  await request(`${url}/livez`);
  return inFlight;
}

/** @returns the status of the answer, or why there is none. */
async function finish(inFlight: ClientRequest): Promise<number | string | undefined> {
  await pace(REST_AFTER_MS);
  inFlight.end('}');
  try {
    const [answer] = (await once(inFlight, 'response')) as [IncomingMessage];
    answer.resume();
    return answer.statusCode;
  } catch (error) {
    return String(error);
  }
}

async function refusedSocket(url: string): Promise<string | undefined> {
  const late = openClient(url, { auth: { token: testToken('late') }, reconnection: false, transports: ['websocket'] });
  const what = await Promise.race([late.next('connect_error').then(() => 'refused'), late.next('connected')]);
  late.close();
  return what === 'refused' ? undefined : 'a new Socket.IO connection was accepted while stopping';
}

async function refusedPlain(url: string): Promise<string | undefined> {
  const late = openPlain(url, { path: `/ws?token=${testToken('late')}` });
  const what = await Promise.race([
    late.closed.then(() => 'refused'),
    late.next('authenticated').catch(() => 'refused'),
  ]);
  return what === 'refused' ? undefined : 'a new plain connection was accepted while stopping';
}

/** Two processes on one store. */
async function runSecond(random: Random): Promise<Outcome> {
  const directory = temporaryDirectory();
  const node = await startOne({ env: { DATA_DIR: directory } });
  const violations: string[] = [];
  const disturb = async () => {
    await pace(random.integer(0, LOAD_MS / 2));
    const first = node.process.child.pid;
    violations.push(...(await Promise.all([startSecond(directory, first), startSecond(directory, first)])).flat());
    await node.kill(0);
    violations.push(...(await startSecond(directory, node.process.child.pid)));
  };
  const outcome = await runRound({ random, nodes: [node], loadMs: LOAD_MS, disturb });
  return { ...outcome, violations: [...violations, ...outcome.violations] };
}

async function startSecond(directory: string, owner: number | undefined): Promise<string[]> {
  const second: RunningProcess = runServer({
    NODE_ENV: 'production',
    PORT: '0',
    JWT_SECRET: TEST_SECRET,
    DATA_DIR: directory,
  });
  const said = await second.line(/in use|"listening"|damaged/);
  if (said.includes('"listening"')) {
    await second.end('SIGKILL');
    return ['a second process was started on the store'];
  }
  // It ends by itself.
  const [code] =
    second.child.exitCode === null ? ((await once(second.child, 'exit')) as [number]) : [second.child.exitCode];
  const isRefused = said.includes(`The store in ${directory} is in use by process`) && code === 1;
  // Two that try at once may see each other.
  const isClear = owner === undefined || /in use by process \d+/.test(said);
  return isRefused && isClear ? [] : [`a second process said ${said} and ended with ${code}`];
}

export const ENDING: readonly Scenario[] = [
  {
    id: 'F1',
    fault: 'the process is killed',
    injected: `SIGKILL ${KILLS} times a round, at random moments during a load`,
    expected: 'nothing that was answered 2xx is lost; clients come back and catch up',
    needs: [],
    run: runKilled,
  },
  {
    id: 'F6',
    fault: 'the process is told to stop',
    injected: 'SIGTERM at a random moment during a load, with a request in flight',
    expected:
      '/readyz is 503 first, no new sockets, the request is answered, each client receives `going_away` and when to come back, exit 0 in time, nothing is lost',
    needs: [],
    tells: ['ms until ended'],
    run: runTold,
  },
  {
    id: 'F28',
    fault: 'two processes on one embedded store',
    injected: 'others are started while one serves, and after that one was killed and restarted',
    expected: 'they refuse to start and say why; the first one continues unharmed, and starts at once after SIGKILL',
    needs: [],
    run: runSecond,
  },
];
