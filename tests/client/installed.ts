/** The package as it is published, in a separate project: `npm pack`, unpacked, with its dependencies linked. */
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(__dirname, '../..');
const LINKED = ['socket.io-client', 'react', 'react-dom', 'jsdom', '@types/react', '@types/react-dom', '@types/node'];

export const shell = promisify(execFile);

/** A directory with the package in its node_modules, for all tests of a file. */
export function installedClient(): { readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), 'tidings-client-'));
  beforeAll(() => install(directory), 60_000);
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return { directory };
}

async function install(directory: string): Promise<void> {
  if (!existsSync(join(ROOT, 'client/dist')))
    throw new Error('client/dist is missing: run `npm run build:client` first');
  const options = ['--pack-destination', directory, '--ignore-scripts', '--offline'];
  await shell('npm', ['pack', './client', ...options], { cwd: ROOT });
  const [file = ''] = readdirSync(directory).filter((name) => name.endsWith('.tgz'));
  await shell('tar', ['-xzf', join(directory, file), '-C', directory]);
  const modules = join(directory, 'node_modules');
  mkdirSync(modules);
  renameSync(join(directory, 'package'), join(modules, 'tidings-client'));
  for (const name of LINKED) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  writeFileSync(join(directory, 'package.json'), '{ "name": "project", "type": "commonjs" }');
}

/** Compiles files of the project with these options of tsc. */
export async function compile(
  directory: string,
  files: readonly string[],
  options: readonly string[],
): Promise<string> {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const all = ['--ignoreConfig', '--strict', '--skipLibCheck', '--target', 'es2022', '--types', 'node', ...options];
  const compiled = await shell(process.execPath, [tsc, ...all, ...files], { cwd: directory }).catch(
    // tsc reports compile errors on standard output.
    (error: { stdout: string }) => error,
  );
  return compiled.stdout;
}
