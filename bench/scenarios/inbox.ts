import { statSync } from 'node:fs';
import { join } from 'node:path';
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { systemClock } from '../../utils/clock';
import { BATCH_SIZE, sendBatches } from '../support/batches';
import { HttpConnection } from '../support/http-connection';
import type { BenchOptions } from '../support/options';
import { type Memory, readMemory } from '../support/process-stats';
import { createRandom } from '../support/random';
import type { Section } from '../support/report';
import { storePath, TIDINGS } from '../support/server-kinds';
import { createDataDirectory, type RunningServer, removeDataDirectory, startServer } from '../support/servers';
import { median, quantile } from '../support/statistics';
import { createServiceToken, createUserToken } from '../support/tokens';

const PAGE_LIMIT = 50;
const HEAVY_USER = 'heavy';
const SEED = 20;

const LATENCY_TARGET_MS = 10;
const START_TARGET_MS = 2000;
const HEAVY_COUNTS_TARGET_MS = 5;

/** The content of a store: as many messages in each of many inboxes, and one large inbox. */
interface Size {
  readonly users: number;
  readonly messagesEach: number;
  readonly heavyMessages: number;
}

interface Plan {
  readonly small: Size;
  readonly big: Size;
  readonly starts: number;
  readonly warmUp: number;
  readonly requests: number;
}

const FULL_PLAN: Plan = {
  small: { users: 10_000, messagesEach: 50, heavyMessages: 0 },
  big: { users: 10_000, messagesEach: 100, heavyMessages: 100_000 },
  starts: 5,
  warmUp: 500,
  requests: 5000,
};
const QUICK_PLAN: Plan = {
  small: { users: 10, messagesEach: 20, heavyMessages: 0 },
  big: { users: 200, messagesEach: 20, heavyMessages: 3000 },
  starts: 1,
  warmUp: 20,
  requests: 200,
};

/** Latencies in milliseconds. */
type Times = readonly number[];

interface Findings {
  readonly size: Size;
  readonly fileMiB: number;
  readonly fillPerSecond: number;
  readonly starts: Times;
  readonly lists: Times;
  readonly counts: Times;
  readonly memoryAtStart: Memory;
  readonly memory: Memory;
  readonly heavy: HeavyFindings | undefined;
}

interface HeavyFindings {
  readonly markingMs: number;
  readonly lists: Times;
  readonly counts: Times;
  readonly storeCounts: Times;
}

/** Inboxes in a large store against a small one: latency, start time, memory; and one very large inbox. */
export async function runInbox(options: BenchOptions): Promise<Section[]> {
  if (options.isPeersOnly) return [];
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const faults: string[] = [];
  const small = await measureStore(plan, plan.small, faults);
  const big = await measureStore(plan, plan.big, faults);
  const rows = [...createRows(small, big), ...createHeavyRows(big)];
  return [{ title: 'Inbox', header: ['figure', 'smaller store', 'big store', 'target', 'met'], rows, faults }];
}

async function measureStore(plan: Plan, size: Size, faults: string[]): Promise<Findings> {
  const directory = createDataDirectory();
  try {
    const { fillPerSecond, markingMs } = await fill(directory, size, faults);
    const starts: number[] = [];
    for (let i = 1; i < plan.starts; i += 1) starts.push(await timeStart(directory));
    const server = await startServer(TIDINGS, { directory });
    starts.push(server.readyAfterMs);
    const asked = await ask(server, plan, { size, faults }).finally(() => server.stop());
    const heavy =
      asked.heavy === undefined
        ? undefined
        : { ...asked.heavy, markingMs, storeCounts: await timeStoreCounts(directory, plan) };
    const fileMiB = statSync(join(storePath(directory), 'data.mdb')).size / 2 ** 20;
    return { ...asked, size, fileMiB, fillPerSecond, starts, heavy };
  } finally {
    removeDataDirectory(directory);
  }
}

async function timeStart(directory: string): Promise<number> {
  const server = await startServer(TIDINGS, { directory });
  await server.stop();
  return server.readyAfterMs;
}

/** Fills a store through the batch route, user after user in turn; half of the large inbox is marked as read. */
async function fill(directory: string, size: Size, faults: string[]) {
  const server = await startServer(TIDINGS, { directory });
  try {
    const startedAt = performance.now();
    const count = size.users * size.messagesEach;
    const title = 'inbox';
    await sendBatches(server, { title, count, userOf: (n) => userAt(n % size.users), faults });
    await sendBatches(server, { title, count: size.heavyMessages, userOf: () => HEAVY_USER, faults });
    const fillPerSecond = ((count + size.heavyMessages) / (performance.now() - startedAt)) * 1000;
    const markingMs = size.heavyMessages === 0 ? 0 : await markHalfAsRead(server, size, faults);
    return { fillPerSecond, markingMs };
  } finally {
    await server.stop();
  }
}

async function markHalfAsRead(server: RunningServer, { heavyMessages }: Size, faults: string[]): Promise<number> {
  const connection = await HttpConnection.open(server.port, createServiceToken());
  const change = { topic: `@${HEAVY_USER}`, upTo: heavyMessages / 2, state: 'read' };
  const startedAt = performance.now();
  const { status } = await connection.patchAs(createUserToken(HEAVY_USER), '/inbox', change);
  const elapsedMs = performance.now() - startedAt;
  connection.close();
  if (status !== 200) faults.push(`inbox: marking as read was answered ${status}`);
  return elapsedMs;
}

function userAt(index: number): string {
  return `user-${index}`;
}

interface Asking {
  readonly size: Size;
  readonly faults: string[];
}

/** One request at a time: of random users, then of the large inbox. */
async function ask(server: RunningServer, plan: Plan, { size, faults }: Asking) {
  process.stderr.write(`inbox: asking ${size.users} users at random\n`);
  await server.collectGarbage();
  const memoryAtStart = readMemory(server.pid);
  const connection = await HttpConnection.open(server.port, createServiceToken());
  const random = createRandom(SEED);
  const tokens = Array.from({ length: size.users }, (_, i) => createUserToken(userAt(i)));
  const anybody = () => tokens[random(size.users)] ?? '';
  const pageLength = Math.min(PAGE_LIMIT, size.messagesEach);
  const timed = (path: string, token: () => string, isRight: (answer: InboxAnswer) => boolean) =>
    timeRequests({ connection, path, token, isRight, plan, faults });
  const listPath = `/inbox?limit=${PAGE_LIMIT}`;
  const lists = await timed(listPath, anybody, ({ items }) => items?.length === pageLength);
  const counts = await timed('/inbox/counts', anybody, ({ unread }) => unread === size.messagesEach);
  await server.collectGarbage();
  const memory = readMemory(server.pid);
  const heavy = size.heavyMessages === 0 ? undefined : await askHeavy(timed, listPath, size);
  connection.close();
  return { lists, counts, memoryAtStart, memory, heavy };
}

type Timed = (path: string, token: () => string, isRight: (answer: InboxAnswer) => boolean) => Promise<Times>;

async function askHeavy(timed: Timed, listPath: string, { heavyMessages }: Size) {
  const token = createUserToken(HEAVY_USER);
  const lists = await timed(
    listPath,
    () => token,
    ({ items }) => items?.length === PAGE_LIMIT,
  );
  const counts = await timed(
    '/inbox/counts',
    () => token,
    ({ unread }) => unread === heavyMessages / 2,
  );
  return { lists, counts };
}

interface InboxAnswer {
  readonly items?: readonly unknown[];
  readonly unread?: number;
}

interface Requests {
  readonly connection: HttpConnection;
  readonly path: string;
  token(): string;
  isRight(answer: InboxAnswer): boolean;
  readonly plan: Plan;
  readonly faults: string[];
}

async function timeRequests({ connection, path, token, isRight, plan, faults }: Requests): Promise<Times> {
  const times: number[] = [];
  let wrong = 0;
  for (let i = -plan.warmUp; i < plan.requests; i += 1) {
    const asWhom = token();
    const startedAt = performance.now();
    const { status, body } = await connection.getAs(asWhom, path);
    if (i >= 0) times.push(performance.now() - startedAt);
    if (status !== 200 || !isRight(JSON.parse(body) as InboxAnswer)) wrong += 1;
  }
  if (wrong > 0) faults.push(`inbox: ${wrong} wrong answers to ${path}`);
  return times;
}

/** The store's share of the latency: the same operation in this process, after the server has stopped. */
async function timeStoreCounts(directory: string, { warmUp, requests }: Plan): Promise<Times> {
  const store = openLmdbStore(storePath(directory), systemClock);
  const times: number[] = [];
  try {
    for (let i = -warmUp; i < requests; i += 1) {
      const startedAt = performance.now();
      await store.inbox.counts(HEAVY_USER);
      if (i >= 0) times.push(performance.now() - startedAt);
    }
  } finally {
    await store.close();
  }
  return times;
}

function createRows(small: Findings, big: Findings): string[][] {
  const row = (title: string, show: (findings: Findings) => string) => [title, show(small), show(big), '', ''];
  const mib = (kib: number) => (kib / 1024).toFixed(0);
  const atMost = (title: string, limit: number, read: (findings: Findings) => number) => [
    title,
    showMs(read(small)),
    showMs(read(big)),
    `big store < ${limit}`,
    read(big) < limit ? 'yes' : 'NO',
  ];
  return [
    row('messages in inboxes', ({ size }) => `${size.users * size.messagesEach} in ${size.users}`),
    row('and in one large inbox', ({ size }) => `${size.heavyMessages}`),
    row('MiB of the file', ({ fileMiB }) => fileMiB.toFixed(0)),
    row(`messages/s while filling, in batches of ${BATCH_SIZE}`, ({ fillPerSecond }) => fillPerSecond.toFixed(0)),
    atMost('ms from start until ready, median', START_TARGET_MS, ({ starts }) => median(starts)),
    row(`ms of GET /inbox?limit=${PAGE_LIMIT}, median`, ({ lists }) => showMs(median(lists))),
    atMost('the same, p99', LATENCY_TARGET_MS, ({ lists }) => quantile(lists, 0.99)),
    row('ms of GET /inbox/counts, median', ({ counts }) => showMs(median(counts))),
    atMost('the same, p99', LATENCY_TARGET_MS, ({ counts }) => quantile(counts, 0.99)),
    row('MiB of RssAnon after the start / after the requests', ({ memoryAtStart, memory }) =>
      [memoryAtStart, memory].map(({ anonymousKiB }) => mib(anonymousKiB)).join(' / '),
    ),
    row('MiB of RssFile after the start / after the requests', ({ memoryAtStart, memory }) =>
      [memoryAtStart, memory].map(({ fileKiB }) => mib(fileKiB)).join(' / '),
    ),
  ];
}

function createHeavyRows({ size: { heavyMessages }, heavy }: Findings): string[][] {
  if (heavy === undefined) return [];
  const row = (title: string, ms: number) => [title, '', showMs(ms), '', ''];
  const atMost = (title: string, ms: number) => {
    const verdict = ms < HEAVY_COUNTS_TARGET_MS ? 'yes' : 'NO';
    return [title, '', showMs(ms), `< ${HEAVY_COUNTS_TARGET_MS}`, verdict];
  };
  return [
    row(`ms to mark ${heavyMessages / 2} as read, once`, heavy.markingMs),
    row(`ms of GET /inbox?limit=${PAGE_LIMIT} of ${heavyMessages}, median`, median(heavy.lists)),
    row('the same, p99', quantile(heavy.lists, 0.99)),
    row(`ms of GET /inbox/counts of ${heavyMessages}, median`, median(heavy.counts)),
    atMost('the same, p99', quantile(heavy.counts, 0.99)),
    row('of it in the store alone, median', median(heavy.storeCounts)),
    atMost('the same, p99', quantile(heavy.storeCounts, 0.99)),
  ];
}

function showMs(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 100 ? 2 : 0);
}
