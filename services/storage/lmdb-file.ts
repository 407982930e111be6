/**
 * What can be told of an LMDB data file without mapping it. LMDB trusts its file: a file that is cut or
 * overwritten ends the process by SIGBUS, SIGSEGV or abort(), so it is looked at before it is opened.
 * Offsets: `struct MDB_meta` of the LMDB version that lmdb-js carries (data format 2, 24-byte page headers).
 */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { StoreOpenError } from './contract';

const META_BYTES = 160;
const MAGIC_OFFSET = 24;
const VERSION_OFFSET = 28;
const PAGE_SIZE_OFFSET = 48;
const LAST_PAGE_OFFSET = 144;
const TRANSACTION_OFFSET = 152;
const MAGIC = 0xbeefc0de;
const FORMAT_VERSION = 2;

export interface DataFile {
  /** Every page that the last transaction counts lies within the file. */
  readonly isComplete: boolean;
}

/** The data file of a store. */
export function dataFilePath(directory: string): string {
  return join(directory, 'data.mdb');
}

/**
 * Reads the headers of a store's data file.
 * @returns `undefined` where there is no store yet.
 * @throws StoreOpenError when the headers are not those of a store.
 */
export function inspectDataFile(directory: string): DataFile | undefined {
  const path = dataFilePath(directory);
  if (!existsSync(path)) return undefined;
  const file = openSync(path, 'r');
  try {
    return inspectMetaPages(file, fstatSync(file).size, path);
  } finally {
    closeSync(file);
  }
}

function inspectMetaPages(file: number, size: number, path: string): DataFile {
  const first = readMeta(file, 0, path);
  const second = readMeta(file, first.pageSize, path);
  const last = second.transaction > first.transaction ? second : first;
  return { isComplete: BigInt(size) >= (last.lastPage + 1n) * BigInt(last.pageSize) };
}

interface Meta {
  readonly pageSize: number;
  readonly lastPage: bigint;
  readonly transaction: bigint;
}

function readMeta(file: number, position: number, path: string): Meta {
  const bytes = Buffer.alloc(META_BYTES);
  const isWhole = readSync(file, bytes, 0, META_BYTES, position) === META_BYTES;
  if (!isWhole || bytes.readUInt32LE(MAGIC_OFFSET) !== MAGIC) {
    throw new StoreOpenError(
      `${path} is damaged or is not a store: its header is not readable. Restore it from a backup.`,
    );
  }
  if (bytes.readUInt32LE(VERSION_OFFSET) !== FORMAT_VERSION) {
    throw new StoreOpenError(`${path} was written by another version of the embedded store.`);
  }
  return {
    pageSize: bytes.readUInt32LE(PAGE_SIZE_OFFSET),
    lastPage: bytes.readBigUInt64LE(LAST_PAGE_OFFSET),
    transaction: bytes.readBigUInt64LE(TRANSACTION_OFFSET),
  };
}
