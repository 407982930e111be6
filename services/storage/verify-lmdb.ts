/**
 * Run as a process of its own (`verify-lmdb DIRECTORY`): walks every tree of a store, read only. LMDB ends the
 * process when a page is damaged, so the walk is done by a child whose death is the answer.
 */
import { open } from 'lmdb';
import { inspectDataFile } from './lmdb-file';
import { DATABASES } from './lmdb-layout';

function walk(directory: string): void {
  const root = open({ path: directory, noSubdir: false, readOnly: true, maxDbs: DATABASES.length });
  const mustReadValues = inspectDataFile(directory)?.isComplete === false;
  for (const { name, encoding } of DATABASES) {
    const database = root.openDB<unknown, string[]>({ name, encoding });
    if (database === undefined) continue;
    // Counting visits every leaf. Values on pages of their own are read only where the file is short: those may lie behind its end.
    database.getKeysCount();
    if (mustReadValues) for (const _entry of database.getRange()) void _entry.value;
  }
}

const [, , directory] = process.argv;
if (directory === undefined) throw new Error('verify-lmdb needs the directory of a store');
walk(directory);
