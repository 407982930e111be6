/**
 * Faults F2, F4 and F5, made by strace in the real service: the flush comes before the answer, and a disk that
 * fails is told to the sender. A kill -9 cannot show this: the page cache outlives the process.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openClient } from '../../support/client';
import { describeWith, findProgram } from '../../support/needs';
import { type RunningProcess, run, runServer } from '../../support/process';
import { range, TEST_SECRET, testToken } from '../../support/service';
import { temporaryDirectory } from '../../support/temporary';

const strace = findProgram('strace');
const SYNC_CALLS = 'fdatasync,fsync,msync,sync_file_range';
const WRITE_CALLS = 'write,writev,pwrite64,pwritev,pwritev2';
const DELAY_MS = 300;
/** A request that hangs is a failure: without a bound it would be the test that fails, not the answer. */
const PATIENCE_MS = 30_000;

/** May strace attach to a process that it did not start, and let its calls fail? */
function canAttach(program: string | undefined): boolean {
  if (program === undefined) return false;
  const trial = spawnSync(program, ['-o', '/dev/null', '-e', 'inject=fdatasync:error=EIO', process.execPath, '-v']);
  return trial.status === 0 && (process.getuid?.() === 0 || attachScope() === 0);
}

/** Where Yama is active, only 0 lets a user attach to processes that are no children. */
function attachScope(): number {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8'));
  } catch {
    // No Yama, no such bound.
    return 0;
  }
}

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly body: Record<string, unknown>;
  readonly milliseconds: number;
}

interface Service {
  readonly process: RunningProcess;
  readonly pid: number;
  readonly url: string;
  readonly dataFile: string;
  get(path: string): Promise<Answer>;
  /** Sends a message to anna. */
  send(fields?: Record<string, unknown>, key?: string): Promise<Answer>;
}

async function startService(): Promise<Service> {
  const directory = temporaryDirectory();
  const env = { NODE_ENV: 'production', PORT: '0', JWT_SECRET: TEST_SECRET, DATA_DIR: directory, LOG_LEVEL: 'info' };
  const server = runServer(env);
  const { port, pid } = JSON.parse(await server.line(/"msg":"listening"/)) as { port: number; pid: number };
  const url = `http://127.0.0.1:${port}`;
  const headers = {
    Authorization: `Bearer ${testToken('service', { scope: 'send' })}`,
    'Content-Type': 'application/json',
  };
  async function ask(path: string, init: RequestInit): Promise<Answer> {
    const start = performance.now();
    const response = await fetch(`${url}${path}`, { ...init, signal: AbortSignal.timeout(PATIENCE_MS) });
    const body = (await response.json()) as Record<string, unknown>;
    const milliseconds = performance.now() - start;
    return { status: response.status, type: response.headers.get('content-type'), body, milliseconds };
  }
  const service: Service = {
    process: server,
    pid,
    url,
    dataFile: join(directory, 'data.mdb'),
    get: (path) => ask(path, {}),
    send: (fields = {}, key) => {
      const keyed = key === undefined ? headers : { ...headers, 'Idempotency-Key': key };
      const body = JSON.stringify({ userId: 'anna', type: 'test', data: 1, ...fields });
      return ask('/websocket/message/user', { method: 'POST', headers: keyed, body });
    },
  };
  // The first request does much for the first time.
  expect((await service.send()).status).toBe(200);
  return service;
}

/** Attaches strace to all threads of the service. @returns the way to detach it. */
async function attach(service: Service, args: readonly string[]): Promise<() => Promise<void>> {
  const tracer = run(strace ?? 'strace', ['-f', '-p', String(service.pid), ...args]);
  await tracer.line(/attached/);
  return async () => {
    await tracer.end('SIGTERM');
  };
}

function expectProblem(answer: Answer, status: number, code: string): void {
  expect(answer).toMatchObject({ status, type: expect.stringContaining('application/problem+json'), body: { code } });
}

interface Call {
  readonly name: string;
  readonly descriptor: number;
  readonly path: string;
}

/** What a trace tells, in its order: calls that began, and calls that ended (`isEnd`). */
function* callsOf(trace: string): Generator<{ call: Call; line: string; isEnd: boolean }> {
  const unfinished = new Map<string, Call>();
  for (const line of trace.split('\n')) {
    const [, thread = '', name = '', descriptor, path = ''] = /^(\d+) +(\w+)\((\d+)<([^>]*)>/.exec(line) ?? [];
    if (descriptor !== undefined) {
      const call = { name, descriptor: Number(descriptor), path };
      const isWhole = !line.includes('<unfinished ...>');
      if (!isWhole) unfinished.set(thread, call);
      yield { call, line, isEnd: false };
      if (isWhole) yield { call, line, isEnd: true };
    }
    const [, resumed = ''] = /^(\d+) +<\.\.\. \w+ resumed>/.exec(line) ?? [];
    const call = unfinished.get(resumed);
    if (call !== undefined) yield { call, line, isEnd: true };
    unfinished.delete(resumed);
  }
}

/** Is what is written to this descriptor on disk when the call returns? */
function isSynchronous(service: Service, descriptor: number): boolean {
  const [, flags = '0'] =
    /flags:\s+([0-7]+)/.exec(readFileSync(`/proc/${service.pid}/fdinfo/${descriptor}`, 'utf8')) ?? [];
  const O_DSYNC = 0o10000;
  return (Number.parseInt(flags, 8) & O_DSYNC) !== 0;
}

/** For each answer 200, in order: how many flushes ended since the one before, and is anything not yet flushed? */
function judgeAnswers(service: Service, trace: string): { flushes: number; isFlushed: boolean }[] {
  const answers: { flushes: number; isFlushed: boolean }[] = [];
  const unflushed = new Set<string>();
  let flushes = 0;
  for (const { call, line, isEnd } of callsOf(trace)) {
    const isData = call.path === service.dataFile;
    const isFlush = SYNC_CALLS.split(',').includes(call.name);
    if (!isEnd && line.includes('HTTP/1.1 200')) {
      answers.push({ flushes, isFlushed: unflushed.size === 0 });
      flushes = 0;
    }
    if (!isEnd && isData && !isFlush && !isSynchronous(service, call.descriptor)) unflushed.add(call.path);
    if (isEnd && isData && isFlush && / = 0\b/.test(line)) {
      unflushed.delete(call.path);
      flushes += 1;
    }
  }
  return answers;
}

describeWith('strace that may attach to a process', canAttach(strace))('a send', () => {
  it('is answered after its pages and the header were flushed', async () => {
    const service = await startService();
    const file = join(temporaryDirectory(), 'trace');
    const detach = await attach(service, ['-y', '-s', '16', '-o', file, '-e', `trace=${SYNC_CALLS},${WRITE_CALLS}`]);
    const sends = range(1, 10);
    for (const _n of sends) expect((await service.send()).status).toBe(200);
    await detach();
    const answers = judgeAnswers(service, readFileSync(file, 'utf8'));
    expect(answers).toEqual(sends.map(() => ({ flushes: expect.any(Number), isFlushed: true })));
    expect(Math.min(...answers.map(({ flushes }) => flushes))).toBeGreaterThanOrEqual(1);
  });

  it('is not answered before a slow disk is done', async () => {
    const service = await startService();
    const delay = `inject=${SYNC_CALLS}:delay_enter=${DELAY_MS * 1_000}`;
    await attach(service, ['-o', '/dev/null', '-e', `trace=${SYNC_CALLS}`, '-e', delay]);
    for (const _n of range(1, 3)) {
      const { status, milliseconds } = await service.send();
      expect(status).toBe(200);
      expect(milliseconds).toBeGreaterThanOrEqual(DELAY_MS);
    }
  });

  it('is refused while the disk fails, and the service recovers', async () => {
    const service = await startService();
    const client = await connectAnna(service);
    client.close();
    expect(await service.send()).toMatchObject({ status: 200, body: { seq: 2 } });
    const detach = await attach(service, ['-o', '/dev/null', '-e', 'inject=fdatasync:error=EIO']);
    for (const id of ['a', 'b', 'c']) expectProblem(await service.send({ id }), 503, 'store_unavailable');
    expectProblem(await service.send({ data: 'keyed' }, 'a key'), 503, 'store_unavailable');
    expect((await service.get('/readyz')).status).toBe(503);
    expect((await service.get('/livez')).status).toBe(200);
    // What is stored is delivered all the same.
    const reader = await connectAnna(service);
    expect(reader.allMessages).toMatchObject([{ seq: 2 }]);
    await detach();
    // Nothing of what was refused was stored: the same ids are new, and seq has no gap.
    for (const [index, id] of ['c', 'b', 'a'].entries()) {
      expect(await service.send({ id })).toMatchObject({ status: 200, body: { id, seq: index + 3 } });
    }
    expect((await reader.messages(4)).map(({ seq }) => seq)).toEqual([2, 3, 4, 5]);
    // The key is free, for another request too.
    expect(await service.send({ data: 'another' }, 'a key')).toMatchObject({ status: 200, body: { seq: 6 } });
    expect((await service.get('/readyz')).status).toBe(200);
    expect(await service.process.end('SIGTERM')).toEqual({ code: 0, signal: null });
  });

  it('is refused while the disk is full, and the service recovers', async () => {
    const service = await startService();
    const fault = ['-P', service.dataFile, '-e', `inject=${WRITE_CALLS}:error=ENOSPC`];
    const detach = await attach(service, ['-o', '/dev/null', ...fault]);
    for (const id of ['a', 'b']) expectProblem(await service.send({ id }), 507, 'store_full');
    expect((await service.get('/readyz')).status).toBe(503);
    await detach();
    expect(await service.send({ id: 'a' })).toMatchObject({ status: 200, body: { id: 'a', seq: 2 } });
    expect((await service.get('/readyz')).status).toBe(200);
  });
});

/** Connects anna's shared device and waits until it has what is stored. */
async function connectAnna(service: Service) {
  const client = openClient(service.url, { auth: { token: testToken('anna') } });
  await client.next('sync:done');
  return client;
}
