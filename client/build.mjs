/** Compiles the package twice, for `import` and for `require`, into dist/. Needs the TypeScript of the repository. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');

rmSync(join(here, 'dist'), { recursive: true, force: true });
for (const kind of ['esm', 'cjs']) {
  execFileSync(process.execPath, [tsc, '-p', join(here, `tsconfig.${kind}.json`)], { stdio: 'inherit' });
}
// The package is one of ES modules; this part of it is not.
writeFileSync(join(here, 'dist/cjs/package.json'), '{ "type": "commonjs" }\n');
