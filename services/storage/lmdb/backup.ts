/**
 * Copies an embedded store, also while another process uses it. What that process has answered before the copy began
 * is in it. The copy is read through before it gets its name: a directory of that name is a whole backup.
 */
import { closeSync, existsSync, fsyncSync, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { checkPages, dataFilePath } from './file';
import { messageOf } from './queue';

/** What the operator can put right. */
export class BackupError extends Error {}

/**
 * Writes the store of a directory to another one, which must not be there yet.
 * @throws BackupError and leaves nothing behind, when the copy cannot be written or read through.
 */
export async function backUpLmdbStore(directory: string, target: string): Promise<void> {
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

/** Under another name first: what was cut short is never taken for a backup. */
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

/** As the service does before it opens a store. */
function verify(directory: string): void {
  try {
    checkPages(directory);
  } catch (error) {
    throw new BackupError(`The copy could not be read through: ${messageOf(error)}`);
  }
}

function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
