/**
 * Run as a process of its own (`verify-lmdb DIRECTORY`): walks every tree of a store. LMDB ends the process when a
 * page is damaged, so the walk is done by a child whose death is the answer.
 */
import { ABORT, type Database, open } from 'lmdb';
import { inspectDataFile } from './lmdb-file';
import { DATABASES } from './lmdb-layout';

/** Larger than what lies free in one piece, so that LMDB looks through all free pages for it. */
const TRIAL_BYTES = 1024 * 1024;

function walk(directory: string): void {
  // A file that is shorter than its header says may have lost pages, or pages that were never used: LMDB leaves such
  // behind. Then everything is touched, values and free pages too.
  const isShort = inspectDataFile(directory)?.isComplete === false;
  const root = open({ path: directory, noSubdir: false, readOnly: !isShort, maxDbs: DATABASES.length });
  for (const { name, encoding } of DATABASES) {
    const database = root.openDB<unknown, string[]>({ name, encoding });
    if (database !== undefined) count(database, name, isShort);
  }
  if (isShort) tryToWrite(root.openDB<string, string>({ name: 'meta', encoding: 'string' }));
}

/** Counting visits every leaf; one that was overwritten by another has the wrong number of entries. */
function count(database: Database<unknown, string[]>, name: string, mustReadValues: boolean): void {
  const { entryCount } = database.getStats() as { entryCount: number };
  const found = database.getKeysCount();
  if (found !== entryCount) throw new Error(`${name} has ${found} entries of ${entryCount}`);
  if (mustReadValues) for (const entry of database.getRange()) void entry.value;
}

function tryToWrite(database: Database<string, string>): void {
  database.transactionSync(() => {
    database.put('trial', 'x'.repeat(TRIAL_BYTES));
    return ABORT;
  });
}

const [, , directory] = process.argv;
if (directory === undefined) throw new Error('verify-lmdb needs the directory of a store');
walk(directory);
