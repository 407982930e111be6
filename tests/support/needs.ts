/** Tests that need a program that not every machine has. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Finds a program on the PATH. */
export function findProgram(...names: readonly string[]): string | undefined {
  const directories = (process.env['PATH'] ?? '').split(delimiter);
  return names.flatMap((name) => directories.map((directory) => join(directory, name))).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Missing or not executable: the next directory may have it.
    return false;
  }
}

/**
 * `describe` if a need is met; otherwise a skip that says why. With TIDINGS_REQUIRE_ALL=true, a need that is not met is
 * a failure: then everything was meant to be installed.
 */
export function describeWith(need: string, isMet: boolean): typeof describe | typeof describe.skip {
  if (isMet) return describe;
  if (process.env['TIDINGS_REQUIRE_ALL'] === 'true') throw new Error(`${need} is required here and was not found`);
  console.warn(`SKIPPED: these tests need ${need}, which was not found on this machine.`);
  return describe.skip;
}
