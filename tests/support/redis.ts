/** A Redis server for one test, to be killed, stopped and emptied. */
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { findProgram } from './needs';
import { freePort, type RunningProcess, run } from './process';

export const REDIS_SERVER = findProgram('redis-server');

export interface RedisServer {
  readonly url: string;
  readonly process: RunningProcess;
  /** Carries out one command by hand. @returns the answer as Redis writes it, or its beginning. */
  command(...words: string[]): Promise<string>;
  /** Ends it with SIGKILL; its data is gone. */
  kill(): Promise<void>;
  /** Starts it again at the same address, empty. */
  start(): Promise<void>;
  /** Kills it, and starts it again after a while. */
  restart(downMs: number): Promise<void>;
}

export async function startRedis(options: { password?: string } = {}): Promise<RedisServer> {
  const port = await freePort();
  const start = async (): Promise<RunningProcess> => {
    const access = options.password === undefined ? [] : ['--requirepass', options.password];
    const args = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no', ...access];
    const redis = run(REDIS_SERVER ?? 'redis-server', args);
    await redis.line(/Ready to accept connections/);
    return redis;
  };
  let running = await start();
  const startAgain = async () => {
    running = await start();
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    get process() {
      return running;
    },
    async command(...words) {
      const socket = createConnection(port, '127.0.0.1');
      socket.write(`${words.join(' ')}\r\n`);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      socket.destroy();
      return answer.toString();
    },
    async kill() {
      await running.end('SIGKILL');
    },
    start: startAgain,
    async restart(downMs) {
      await running.end('SIGKILL');
      await delay(downMs);
      await startAgain();
    },
  };
}
