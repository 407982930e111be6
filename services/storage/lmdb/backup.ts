/**
 * Copies an embedded store, even while it is in use: everything acknowledged before the copy began is in it. The copy
 * is verified before it gets its name, so a directory with that name is a complete backup.
 */
import { closeSync, existsSync, fsyncSync, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { open } from 'lmdb';
import { checkPages, dataFilePath } from './file';
import { messageOf } from './queue';

/** Something the operator can fix. */
export class BackupError extends Error {}

/** Copies a store to a directory that does not exist yet. @throws BackupError, leaving nothing behind. */
export async function backUpLmdbStore(directory: string, target: string): Promise<void> {
  if (existsSync(target)) throw new BackupError(`${target} is there already: give each backup a directory of its own.`);
  const beside = () => mkdtempSync(`${target}.partial-`);
  // Under another name first: an interrupted copy is never taken for a backup.
  const partial = await orRefuse(`${dirname(target)} cannot be written to`, beside);
  try {
    await copyStore(directory, partial);
    flush(dataFilePath(partial));
    await orRefuse('The copy could not be read through', () => checkPages(partial));
    flush(partial);
    renameSync(partial, target);
    flush(dirname(target));
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

async function orRefuse<Result>(refusal: string, work: () => Result | Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw new BackupError(`${refusal}: ${messageOf(error)}`);
  }
}

/** Copies one snapshot without unused pages, and so without anything removed or erased. */
async function copyStore(directory: string, target: string): Promise<void> {
  const store = open({ path: directory, noSubdir: false, readOnly: true, overlappingSync: false });
  try {
    // Removes the snapshot of a killed backup, which would keep the store from reusing pages.
    store.readerCheck();
    await orRefuse('The backup could not be written', () => store.backup(target, true));
  } finally {
    await store.close();
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
