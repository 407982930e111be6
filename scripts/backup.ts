/**
 * Writes a copy of the embedded store, also while the service runs on it.
 *   npm run backup -- DIRECTORY
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { StoreOpenError } from '../services/storage/contract';
import { BackupError, backUpLmdbStore } from '../services/storage/lmdb-backup';
import { checkHeaders, dataFilePath, hasDataFile } from '../services/storage/lmdb-file';
import { ConfigError, parseConfig, type StoreLocation } from '../utils/config';

const USAGE = 'Usage:\n  npm run backup -- DIRECTORY';

async function main(): Promise<void> {
  const [target, ...others] = process.argv.slice(2);
  if (target === undefined || target.startsWith('-') || others.length > 0) throw new BackupError(USAGE);
  const directory = embeddedStore(parseConfig(process.env).store);
  await backUpLmdbStore(directory, resolve(target));
  const { size } = statSync(dataFilePath(target));
  console.log(`${directory} is backed up in ${target}: ${size} bytes, read through without a fault`);
}

function embeddedStore(store: StoreLocation): string {
  if (store.kind === 'mongodb') {
    throw new BackupError('STORE_URL names a MongoDB: back it up with the means of the database, such as mongodump.');
  }
  if (!hasDataFile(store.directory)) {
    throw new BackupError(`There is no store in ${store.directory}: set DATA_DIR or STORE_URL as for the service.`);
  }
  checkHeaders(store.directory);
  return store.directory;
}

main().catch((error: unknown) => {
  // Told in one sentence, without a stack.
  const isExpected = error instanceof BackupError || error instanceof ConfigError || error instanceof StoreOpenError;
  console.error(isExpected ? error.message : error);
  process.exitCode = 1;
});
