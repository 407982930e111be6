/** Temporary directories and other things that end with their test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Cleanup = () => void | Promise<void>;

const cleanups: Cleanup[] = [];

/** Runs after the test that called it, last registered first. */
export function onTestEnd(cleanup: Cleanup): void {
  cleanups.push(cleanup);
}

/** Ends what the tests so far have started; services are stopped before their directories are removed. */
export async function runCleanups(): Promise<void> {
  const failures: unknown[] = [];
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) {
    try {
      await cleanup();
    } catch (error) {
      // The others have something to end as well.
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

afterEach(runCleanups);

const lasting: Cleanup[] = [];

/**
 * Starts something that all tests of a file share: what would end with a test ends with the last one. For `beforeAll`.
 */
export async function forAllTests<Thing>(begin: () => Promise<Thing>): Promise<Thing> {
  const before = cleanups.length;
  try {
    return await begin();
  } finally {
    lasting.push(...cleanups.splice(before));
  }
}

afterAll(async () => {
  cleanups.push(...lasting.splice(0));
  await runCleanups();
});

/** A directory that is removed after the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tidings-test-'));
  onTestEnd(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
