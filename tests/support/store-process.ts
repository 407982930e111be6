/**
 * Run as a process of its own: uses embedded stores, and may die of it.
 *   hold DIRECTORY     stores a message, prints `holding`, and keeps the store open until it is killed
 *   touch DIRECTORY    opens the store and closes it in the same tick
 *   look DIRECTORY…    opens one after the other, reads, appends, and prints a StoreReport about each
 * With STORE_PROCESS_UID set it gives up the rights of its user first.
 */

import { createHash } from 'node:crypto';
import type { Draft, Store } from '../../services/storage/contract';
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { systemClock } from '../../utils/clock';

/** The topics that are looked at. */
const TOPICS = ['@anna', '@ben', '*'];
const PROBE_INTERVAL_MS = 1_000;

export type StoreReport =
  | { readonly outcome: 'refused' | 'unreadable'; readonly error: string; readonly message: string }
  | { readonly outcome: 'opened'; readonly log: LogReport; readonly append: string; readonly logAfterwards: LogReport };

/** The messages of all topics, without the one that `look` itself appends. */
interface LogReport {
  readonly count: number;
  readonly digest: string;
}

async function hold(directory: string): Promise<void> {
  const store = openLmdbStore(directory, systemClock);
  await store.log.append(draftOf('held'));
  console.log('holding');
  setInterval(() => void store.probe(), PROBE_INTERVAL_MS);
}

async function look(directory: string): Promise<StoreReport> {
  let store: Store;
  try {
    store = openLmdbStore(directory, systemClock);
  } catch (error) {
    return { outcome: 'refused', ...describeError(error) };
  }
  try {
    const log = await logOf(store);
    const append = await store.log.append(draftOf('appended')).then(
      ({ outcome }) => outcome,
      (error: unknown) => describeError(error).error,
    );
    return { outcome: 'opened', log, append, logAfterwards: await logOf(store) };
  } catch (error) {
    return { outcome: 'unreadable', ...describeError(error) };
  } finally {
    await store.close();
  }
}

async function logOf(store: Store): Promise<LogReport> {
  const hash = createHash('sha256');
  let count = 0;
  for (const topic of TOPICS) {
    for (const message of (await store.log.read(topic, { after: 0, limit: 10_000 })).messages) {
      if (message.id === 'appended') continue;
      hash.update(JSON.stringify(message));
      count += 1;
    }
  }
  return { count, digest: hash.digest('hex') };
}

function draftOf(id: string): Draft {
  const timestamp = '2026-01-01T00:00:00.000Z';
  return { id, isClientId: true, topic: '@anna', type: 'test', data: null, timestamp, from: 'store-process' };
}

function describeError(error: unknown): { error: string; message: string } {
  return error instanceof Error
    ? { error: error.name, message: error.message }
    : { error: 'unknown', message: String(error) };
}

async function main(): Promise<void> {
  const [, , command, ...directories] = process.argv;
  const uid = process.env['STORE_PROCESS_UID'];
  if (uid !== undefined) process.setuid?.(Number(uid));
  for (const directory of directories) {
    if (command === 'hold') await hold(directory);
    else if (command === 'touch') await openLmdbStore(directory, systemClock).close();
    else console.log(JSON.stringify(await look(directory)));
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
