/** The service in a separate process, as `npm start` runs it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestEnd } from './temporary';

const ROOT = join(__dirname, '../..');

export interface RunningProcess {
  readonly child: ChildProcess;
  /** Every line of standard output so far. */
  readonly lines: readonly string[];
  /** Resolves to the first line, past or to come, that matches. */
  line(pattern: RegExp): Promise<string>;
  /** Sends a signal and waits for the end. @returns exit code and signal. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Runs a program of this project; it is killed after the test if it is still alive. */
export function run(command: string, args: readonly string[], env: Record<string, string> = {}): RunningProcess {
  const child = spawn(command, args, { cwd: ROOT, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const wakeAll = () => {
    for (const wake of waiting) wake();
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      wakeAll();
    });
  }
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  void ended.then(wakeAll);
  onTestEnd(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    child,
    lines,
    line: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = lines.find((line) => pattern.test(line));
          if (found !== undefined) resolve(found);
          else if (child.exitCode !== null || child.signalCode !== null)
            reject(new Error(`it ended without ${pattern}:\n${lines.join('\n')}`));
          else return;
          waiting.delete(look);
        };
        waiting.add(look);
        look();
      }),
    async end(signal) {
      child.kill(signal);
      const [code, endSignal] = await ended;
      return { code, signal: endSignal };
    },
  };
}

export interface ServerOptions {
  readonly args?: readonly string[];
  /** A program, with its arguments, that runs it: for example strace. */
  readonly under?: readonly string[];
}

/** Starts the built service. */
export function runServer(env: Record<string, string>, options: ServerOptions = {}): RunningProcess {
  const entry = join(ROOT, 'dist/server.js');
  if (!existsSync(entry)) throw new Error('dist/server.js is missing: run `npm run build` first');
  const { args = [], under = [] } = options;
  const [command = process.execPath, ...rest] = [...under, process.execPath, entry, ...args];
  return run(command, rest, { HOST: '127.0.0.1', ...env });
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port was given');
  return address.port;
}
