/** Directories of the service: created if missing, and a sentence for the operator if they cannot be used. */
import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/**
 * Makes a directory with those above it, unless it is there. One by one: Node's own `recursive` never ends where a file
 * system refuses new directories as if something above them were missing, as /proc does.
 * @returns why it cannot be written to, `undefined` when it can.
 */
export function prepareDirectory(directory: string): string | undefined {
  try {
    const missing = missingAbove(resolve(directory));
    for (const path of missing) makeOne(path);
    if (!statSync(directory).isDirectory()) return 'is a file, expected a directory';
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return describeFault(error);
  }
}

/** The outermost first. */
function missingAbove(path: string): string[] {
  const missing: string[] = [];
  for (let each = path; statSync(each, { throwIfNoEntry: false }) === undefined; each = dirname(each))
    missing.unshift(each);
  return missing;
}

/** Another process may have been first. */
function makeOne(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

const FAULTS = new Map([
  ['EACCES', 'cannot be read or written: this process has no permission'],
  ['EPERM', 'cannot be made or written: this process has no permission'],
  ['EROFS', 'is on a file system that can only be read'],
  ['ENOTDIR', 'is below something that is no directory'],
  ['ENOENT', 'cannot be made: the file system takes no directories there'],
  ['ENAMETOOLONG', 'has a name that is too long'],
  ['ENOSPC', 'cannot be made: the disk is full'],
  ['ELOOP', 'is a link that leads nowhere'],
]);

/** What the operating system says, in words. @throws what is no fault of a file. */
export function describeFault(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') throw error;
  return FAULTS.get(code) ?? `cannot be used (${code})`;
}
