/**
 * Copies the embedded store into DIRECTORY, even while the service is using it.
 *   npm run backup -- DIRECTORY
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { StoreOpenError } from '../services/storage/contract';
import { BackupError, backUpLmdbStore } from '../services/storage/lmdb/backup';
import { checkHeaders, dataFilePath, hasDataFile } from '../services/storage/lmdb/file';
import { EXIT_USAGE, readCommandLine, UsageError } from '../utils/command-line';
import { ConfigError, parseConfig, type StoreLocation } from '../utils/config';

const USAGE = `Copies the embedded store into DIRECTORY, even while the service is using it.

Usage:
  npm run backup -- DIRECTORY
`;

const OPTIONS = { help: { type: 'boolean', default: false } } as const;

async function main(): Promise<void> {
  const syntax = { options: OPTIONS, usage: USAGE, env: process.env, maxValues: 1 };
  const { values, positionals } = readCommandLine(process.argv.slice(2), syntax);
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const [target] = positionals;
  if (target === undefined) throw new UsageError(USAGE);
  const directory = embeddedStore(parseConfig(process.env).store);
  await backUpLmdbStore(directory, resolve(target));
  const { size } = statSync(dataFilePath(target));
  console.log(`${directory} is backed up in ${target}: ${size} bytes, verified`);
}

function embeddedStore(store: StoreLocation): string {
  if (store.kind === 'mongodb') {
    throw new BackupError('STORE_URL names a MongoDB database: back it up with its own tools, for example mongodump.');
  }
  if (!hasDataFile(store.directory)) {
    throw new BackupError(`There is no store in ${store.directory}: set DATA_DIR or STORE_URL as for the service.`);
  }
  checkHeaders(store.directory);
  return store.directory;
}

main().catch((error: unknown) => {
  // Reported in one sentence, without a stack.
  const isUsage = error instanceof UsageError;
  const isExpected =
    isUsage || error instanceof BackupError || error instanceof ConfigError || error instanceof StoreOpenError;
  console.error(isExpected ? error.message : error);
  process.exitCode = isUsage ? EXIT_USAGE : 1;
});
