/** What several nodes share: a MongoDB, whose address is given, and a Redis that is started for the run. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import type { Section } from './report';
import { findFreePort } from './servers';

export interface SharedServices {
  /** A new database, at the address in TEST_MONGODB_URL. */
  readonly storeUrl: string;
  readonly redisUrl: string;
}

/** Runs `use` with both. Where one cannot be had, the section says what was skipped, and why. */
export async function withSharedServices(
  title: string,
  use: (services: SharedServices) => Promise<Section>,
): Promise<Section[]> {
  const mongoUrl = process.env.TEST_MONGODB_URL;
  if (mongoUrl === undefined || spawnSync('redis-server', ['--version']).error !== undefined) {
    const reason = 'skipped: it needs TEST_MONGODB_URL and a redis-server on the PATH';
    return [{ title, header: [reason], rows: [], faults: [] }];
  }
  const redis = await startRedis();
  try {
    return [await use({ storeUrl: newDatabase(mongoUrl), redisUrl: redis.url })];
  } finally {
    redis.child.kill();
  }
}

/** The address of an empty database on the same server. */
export function newDatabase(mongoUrl: string): string {
  const url = new URL(mongoUrl);
  url.pathname = `/bench-${randomUUID()}`;
  return url.href;
}

async function startRedis(): Promise<{ child: ChildProcess; url: string }> {
  const port = await findFreePort();
  const args = ['--bind', '127.0.0.1', '--port', `${port}`, '--save', '', '--appendonly', 'no'];
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  await new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.includes('Ready to accept connections')) resolve();
    });
  });
  return { child, url: `redis://127.0.0.1:${port}` };
}
