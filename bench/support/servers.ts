import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Contestant, ServerKind } from './server-kinds';

const PROJECT_DIRECTORY = join(__dirname, '..', '..');
const HOST = '127.0.0.1';
const START_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 15_000;
const PROBE_INTERVAL_MS = 25;
const LOG_TAIL_CHARACTERS = 2000;

/** Loaded into every server alike, so that memory is read after a full collection in each of them. */
const PROBE = `data:text/javascript,${encodeURIComponent(`
  import { queryObjects } from 'node:v8';
  const Timeout = setTimeout(() => {}, 0).constructor;
  const inspect = (wish) => {
    const allTimers = wish === 'inspect all' ? queryObjects(Timeout, { format: 'count' }) : undefined;
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    const resources = process.getActiveResourcesInfo();
    const timers = resources.filter((name) => name === 'Timeout').length;
    return { heapUsed, external, arrayBuffers, allTimers, timers, handles: resources.length - timers };
  };
  process.on('message', (wish) => {
    globalThis.gc();
    globalThis.gc();
    process.send(wish === 'collect' ? 'collected' : inspect(wish));
  });
  process.channel.unref();
`)}`;

/** What a server holds after a full collection. Memory in bytes. */
export interface Holdings {
  readonly heapUsed: number;
  /** Outside the heap: buffers, and what libraries in C++ account for. */
  readonly external: number;
  readonly arrayBuffers: number;
  /** Timers that keep the process alive. */
  readonly timers: number;
  /** All that exist. Finding them takes as long as several collections. */
  readonly allTimers?: number;
  /** What else keeps the process alive: sockets, listeners, requests to the operating system. */
  readonly handles: number;
}

const children = new Set<ChildProcess>();
const directories = new Set<string>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of directories) removeDataDirectory(directory);
});

export interface RunningServer {
  readonly label: string;
  readonly kind: ServerKind;
  readonly port: number;
  readonly pid: number;
  /** From the start of the process until it was ready; steps of the probe's interval. */
  readonly readyAfterMs: number;
  collectGarbage(): Promise<void>;
  /** Collects garbage, and reports what is left. */
  inspect(options: { isThorough: boolean }): Promise<Holdings>;
  stop(): Promise<void>;
  /** kill -9: nothing is closed, and nobody is notified. */
  kill(): Promise<void>;
}

/** What a server finds at start, if not an empty directory and any port. */
interface Place {
  /** Kept when the server stops. */
  readonly directory?: string;
  readonly port?: number;
}

/**
 * Starts a server in its own process, and waits until it is ready.
 * @throws Error with the end of its log when it is not ready in time.
 */
export async function startServer({ label, kind }: Contestant, place: Place = {}): Promise<RunningServer> {
  const directory = place.directory ?? createDataDirectory();
  const port = place.port ?? (await findFreePort());
  const startedAt = performance.now();
  const child = spawnServer(kind, directory, port);
  const stop = async () => {
    await stopServer(child);
    if (place.directory === undefined) removeDataDirectory(directory);
  };
  try {
    await waitUntilReady(child, port);
  } catch (cause) {
    const log = readFileSync(logPath(directory), 'utf8').slice(-LOG_TAIL_CHARACTERS);
    await stop();
    throw new Error(`${label} did not start. The end of its log:\n${log}`, { cause });
  }
  const readyAfterMs = performance.now() - startedAt;
  return {
    label,
    kind,
    port,
    pid: child.pid ?? 0,
    readyAfterMs,
    collectGarbage: async () => void (await ask(child, 'collect')),
    inspect: ({ isThorough }) => ask(child, isThorough ? 'inspect all' : 'inspect') as Promise<Holdings>,
    stop,
    kill: () => killServer(child),
  };
}

/** Starts all contestants, gives them to `use`, and stops them whatever happens. */
export async function withServers<Result>(
  contestants: readonly Contestant[],
  use: (servers: readonly RunningServer[]) => Promise<Result>,
): Promise<Result> {
  const servers: RunningServer[] = [];
  try {
    for (const contestant of contestants) servers.push(await startServer(contestant));
    return await use(servers);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
}

/** A new directory where servers keep their data; the caller removes it, otherwise the end of the run does. */
export function createDataDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tidings-bench-'));
  directories.add(directory);
  return directory;
}

/** Removes a data directory with all that is in it. */
export function removeDataDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  directories.delete(directory);
}

/** Has the service been built? */
export function isServiceBuilt(): boolean {
  return existsSync(join(PROJECT_DIRECTORY, 'dist', 'server.js'));
}

/** Where a server of this data directory writes its log. */
export function logPath(directory: string): string {
  return join(directory, 'log');
}

function spawnServer(kind: ServerKind, directory: string, port: number): ChildProcess {
  const log = openSync(logPath(directory), 'a');
  const child = spawn(process.execPath, ['--expose-gc', `--import=${PROBE}`, ...kind.command], {
    cwd: PROJECT_DIRECTORY,
    env: { PATH: process.env.PATH, NODE_ENV: 'production', HOST, PORT: `${port}`, ...kind.environment(directory) },
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** A port on this machine that nobody listens on. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return address !== null && typeof address === 'object' ? address.port : 0;
}

async function waitUntilReady(child: ChildProcess, port: number): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  // Polled: the servers have no common way to announce that they listen.
  while (!(await answersReady(port))) {
    if (child.exitCode !== null) throw new Error(`exited with ${child.exitCode}`);
    if (performance.now() > deadline) throw new Error('not ready in time');
    await delay(PROBE_INTERVAL_MS);
  }
}

function answersReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host: HOST, port, path: '/readyz', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('error', () => resolve(false));
  });
}

/** @throws Error when the server ends instead. */
async function ask(child: ChildProcess, wish: 'collect' | 'inspect' | 'inspect all'): Promise<unknown> {
  if (!child.connected) throw new Error('the server has ended');
  const gone = new AbortController();
  const end = () => gone.abort();
  child.once('exit', end);
  try {
    const answered = once(child, 'message', { signal: gone.signal });
    child.send(wish);
    const [answer] = (await answered) as [unknown];
    return answer;
  } finally {
    child.off('exit', end);
  }
}

async function killServer(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function stopServer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
  clearTimeout(timer);
}
