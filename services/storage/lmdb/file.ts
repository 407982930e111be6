/**
 * Checks an LMDB data file without mapping it: LMDB trusts its file, and a truncated or overwritten one ends the
 * process with SIGBUS, SIGSEGV or abort(). Offsets: `struct MDB_meta` of data format 2 with 24-byte page headers.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../../utils/clock';
import { StoreOpenError } from '../contract';
import { DamageError, type Layout, NO_PAGE, readTreeRecord, TREE_BYTES, type TreeRecord, walkFile } from './walk';

const META_BYTES = 160;
const MAGIC_OFFSET = 24;
const VERSION_OFFSET = 28;
const PAGE_SIZE_OFFSET = 48;
const LAST_PAGE_OFFSET = 144;
const TRANSACTION_OFFSET = 152;
const MAGIC = 0xbeefc0de;
const FORMAT_VERSION = 2;
const SMALLEST_PAGE = 4_096;
const PAGE_SIZES = [SMALLEST_PAGE, 8_192, 16_384, 32_768, 65_536];
/** Larger than any disk: greater values are no page numbers. */
const MAX_LAST_PAGE = 2n ** 40n;

/** A new store gets its headers at once: after this time a file without them is not being created any more. */
const MAKING_MS = 500;
const LOOK_AGAIN_MS = 5;

/** The data file of a store. */
export function dataFilePath(directory: string): string {
  return join(directory, 'data.mdb');
}

/**
 * Reads the headers of the data file, if there is one; waits up to half a second while another process creates it.
 * @throws StoreOpenError when they are not those of a store.
 */
export function checkHeaders(directory: string): void {
  const givesUpAt = systemClock.steady() + MAKING_MS;
  for (;;) {
    try {
      checkHeadersNow(directory);
      return;
    } catch (error) {
      if (!isBeingMade(directory) || systemClock.steady() > givesUpAt) throw error;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_AGAIN_MS);
  }
}

function checkHeadersNow(directory: string): void {
  withDataFile(directory, (file, path) => {
    const { pageSize, freeTree, mainTree } = readNewestMeta(file, path);
    // After the header was read: another process may be writing, and a header is written after its pages.
    const { size } = fstatSync(file);
    // LMDB itself reads the roots of the trees as soon as it has mapped the file.
    const isMissing = ({ root }: TreeRecord) => root !== NO_PAGE && (root + 1n) * BigInt(pageSize) > BigInt(size);
    if (isMissing(freeTree) || isMissing(mainTree)) throw unreadable(path);
  });
}

/** Too short for both headers, and new: a file is empty for a moment after its creation. */
function isBeingMade(directory: string): boolean {
  const { size, mtimeMs } = statSync(dataFilePath(directory));
  return size < 2 * SMALLEST_PAGE && systemClock.now() - mtimeMs < MAKING_MS;
}

export function hasDataFile(directory: string): boolean {
  return existsSync(dataFilePath(directory));
}

/** Verifies the data file, which nobody may write to meanwhile. @throws StoreOpenError when it is damaged. */
export function checkPages(directory: string): void {
  withDataFile(directory, (file, path) => {
    try {
      walkFile(file, fstatSync(file).size, readNewestMeta(file, path));
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      throw new StoreOpenError(
        `The store in ${directory} is damaged: ${error.message}. Nothing was changed. Restore the directory from a ` +
          'backup, or start with another one.',
      );
    }
  });
}

/** The newer of the two headers; `undefined` without a readable file. */
export function readMetaOf(directory: string): Meta | undefined {
  try {
    return withDataFile(directory, readNewestMeta);
  } catch (error) {
    if (error instanceof StoreOpenError) return undefined;
    throw error;
  }
}

/** @returns `undefined` where there is no file. */
function withDataFile<Result>(directory: string, work: (file: number, path: string) => Result): Result | undefined {
  if (!hasDataFile(directory)) return undefined;
  const path = dataFilePath(directory);
  const file = openSync(path, 'r');
  try {
    return work(file, path);
  } finally {
    closeSync(file);
  }
}

interface Meta extends Layout {
  readonly transaction: bigint;
}

function readNewestMeta(file: number, path: string): Meta {
  const first = readMeta(file, 0, path);
  const second = readMeta(file, first.pageSize, path);
  if (second.pageSize !== first.pageSize) throw unreadable(path);
  return second.transaction > first.transaction ? second : first;
}

function readMeta(file: number, position: number, path: string): Meta {
  const bytes = Buffer.alloc(META_BYTES);
  const isWhole = readSync(file, bytes, 0, META_BYTES, position) === META_BYTES;
  if (!isWhole || bytes.readUInt32LE(MAGIC_OFFSET) !== MAGIC) throw unreadable(path);
  if (bytes.readUInt32LE(VERSION_OFFSET) !== FORMAT_VERSION) {
    throw new StoreOpenError(`${path} was written by another version of the embedded store.`);
  }
  const pageSize = bytes.readUInt32LE(PAGE_SIZE_OFFSET);
  const lastPage = bytes.readBigUInt64LE(LAST_PAGE_OFFSET);
  if (!PAGE_SIZES.includes(pageSize) || lastPage > MAX_LAST_PAGE) throw unreadable(path);
  return {
    pageSize,
    lastPage,
    transaction: bytes.readBigUInt64LE(TRANSACTION_OFFSET),
    freeTree: readTreeRecord(bytes, PAGE_SIZE_OFFSET),
    mainTree: readTreeRecord(bytes, PAGE_SIZE_OFFSET + TREE_BYTES),
  };
}

function unreadable(path: string): StoreOpenError {
  return new StoreOpenError(
    `${path} is damaged or is not a store: its header is not readable. Restore it from a backup.`,
  );
}
