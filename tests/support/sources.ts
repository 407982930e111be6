/** The sources of the service, for tests that read them. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '../..');

/** The TypeScript files under these paths of the project. */
export function sourceFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => filesUnder(join(ROOT, path))).filter((file) => file.endsWith('.ts'));
}

function filesUnder(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesUnder(join(path, name)));
}
