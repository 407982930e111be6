import { closeSync, fdatasyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDataDirectory, removeDataDirectory } from './servers';

const APPENDED_BYTES = 256;
const TMPFS_MAGIC = 0x0102_1994;

/** How many milliseconds each of `count` small appends takes to reach the disk, where servers keep their data. */
export function timeFlushes(count: number): number[] {
  const directory = createDataDirectory();
  const file = openSync(join(directory, 'appended'), 'a');
  try {
    return Array.from({ length: count }, () => timeOneFlush(file));
  } finally {
    closeSync(file);
    removeDataDirectory(directory);
  }
}

/** Is the data on a file system in memory? Its flushes cost nothing, so durable figures mean nothing. */
export function isDataInMemory(): boolean {
  return statfsSync(tmpdir()).type === TMPFS_MAGIC;
}

function timeOneFlush(file: number): number {
  const startedAt = performance.now();
  writeSync(file, Buffer.alloc(APPENDED_BYTES, 'x'));
  fdatasyncSync(file);
  return performance.now() - startedAt;
}
