/**
 * Writes a copy of the embedded store, also while the service runs on it.
 *   npm run backup -- DIRECTORY
 * What was answered before the backup began is in it. It is read through before it gets its name: a directory of that
 * name is a whole backup.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, mkdtempSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { StoreOpenError } from '../services/storage/contract';
import { dataFilePath, inspectDataFile } from '../services/storage/lmdb-file';
import { ConfigError, parseConfig, type StoreLocation } from '../utils/config';

const USAGE = 'Usage:\n  npm run backup -- DIRECTORY';

/** What the operator can put right: told in one sentence, without a stack. */
class BackupError extends Error {}

async function main(): Promise<void> {
  const [target, ...others] = process.argv.slice(2);
  if (target === undefined || target.startsWith('-') || others.length > 0) throw new BackupError(USAGE);
  const directory = embeddedStore(parseConfig(process.env).store);
  await backUp(directory, resolve(target));
  const { size } = statSync(dataFilePath(target));
  console.log(`${directory} is backed up in ${target}: ${size} bytes, read through without a fault`);
}

function embeddedStore(store: StoreLocation): string {
  if (store.kind === 'mongodb') {
    throw new BackupError('STORE_URL names a MongoDB: back it up with the means of the database, such as mongodump.');
  }
  if (inspectDataFile(store.directory) === undefined) {
    throw new BackupError(`There is no store in ${store.directory}: set DATA_DIR or STORE_URL as for the service.`);
  }
  return store.directory;
}

/** Under another name first, beside the target: what was cut short is never taken for a backup. */
async function backUp(directory: string, target: string): Promise<void> {
  if (existsSync(target)) throw new BackupError(`${target} is there already: give each backup a directory of its own.`);
  const partial = makeBeside(target);
  try {
    await copyStore(directory, partial);
    flush(dataFilePath(partial));
    verify(partial);
    flush(partial);
    renameSync(partial, target);
    flush(dirname(target));
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function makeBeside(target: string): string {
  try {
    return mkdtempSync(`${target}.partial-`);
  } catch (error) {
    throw new BackupError(`${dirname(target)} cannot be written to: ${messageOf(error)}`);
  }
}

/** One snapshot; pages that are not in use are left out, and with them what was removed or erased. */
async function copyStore(directory: string, target: string): Promise<void> {
  const store = open({ path: directory, noSubdir: false, readOnly: true, overlappingSync: false });
  try {
    // A backup that was killed has left its snapshot behind, which would keep the store from using pages again.
    store.readerCheck();
    await copyOf(store, target);
  } finally {
    await store.close();
  }
}

async function copyOf(store: RootDatabase, target: string): Promise<void> {
  try {
    await store.backup(target, true);
  } catch (error) {
    throw new BackupError(`The backup could not be written: ${messageOf(error)}`);
  }
}

/** By a process of its own, as the service does before it opens a store. */
function verify(directory: string): void {
  const script = require.resolve('../services/storage/verify-lmdb');
  const { status, signal } = spawnSync(process.execPath, [script, directory], { stdio: 'ignore' });
  rmSync(join(directory, 'lock.mdb'), { force: true });
  if (status === 0) return;
  throw new BackupError(`The copy could not be read through (${signal ?? `exit ${status}`}): the store is damaged.`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

main().catch((error: unknown) => {
  const isExpected = error instanceof BackupError || error instanceof ConfigError || error instanceof StoreOpenError;
  console.error(isExpected ? error.message : error);
  process.exitCode = 1;
});
