/** What reads input from outside is installed in versions that have the fixes that are known to matter here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The first version with the fix. Every installed copy must have it, whichever package brought it. */
const FIXED: Readonly<Record<string, string>> = {
  'socket.io-parser': '4.2.7',
  'engine.io': '6.6.7',
  ws: '8.21.1',
  'body-parser': '2.3.0',
  qs: '6.14.2',
  'path-to-regexp': '8.4.0',
  jsonwebtoken: '9.0.3',
};

interface Locked {
  readonly version?: string;
}

const lock = JSON.parse(readFileSync(join(__dirname, '../package-lock.json'), 'utf8')) as {
  readonly packages: Readonly<Record<string, Locked>>;
};

/** Every copy, by its location, including those of clients that only tests use. */
function copiesOf(name: string): [path: string, version: string][] {
  return Object.entries(lock.packages).flatMap(([path, { version }]): [string, string][] => {
    const isCopy = path === `node_modules/${name}` || path.endsWith(`/node_modules/${name}`);
    return isCopy && version !== undefined ? [[path, version]] : [];
  });
}

/** Is a version at least another one? A pre-release is before its version. */
function isAtLeast(version: string, least: string): boolean {
  const [numbers = '', preRelease] = version.split('-');
  const [own, other] = [numbers, least].map((text) => text.split('.').map(Number));
  for (const [index, number] of (other ?? []).entries()) {
    const difference = (own?.[index] ?? 0) - number;
    if (difference !== 0) return difference > 0;
  }
  return preRelease === undefined;
}

const COPIES = Object.keys(FIXED).flatMap((name) => copiesOf(name).map(([path, version]) => ({ name, path, version })));

it.each(Object.keys(FIXED))('%s is there', (name) => {
  expect(COPIES.filter((copy) => copy.name === name)).not.toEqual([]);
});

it('ws is installed more than once: for the plain endpoint, and for Socket.IO', () => {
  const paths = COPIES.filter(({ name }) => name === 'ws').map(({ path }) => path);
  expect(paths).toEqual(expect.arrayContaining(['node_modules/ws', 'node_modules/engine.io/node_modules/ws']));
});

it.each(COPIES)('$path $version has the fixes', ({ name, version }) => {
  expect({ version, isFixed: isAtLeast(version, FIXED[name] ?? '') }).toEqual({ version, isFixed: true });
});

it.each(COPIES)('what is installed at $path is what the lock file says', ({ path, version }) => {
  const installed = JSON.parse(readFileSync(join(__dirname, '..', path, 'package.json'), 'utf8')) as Locked;
  expect(installed.version).toBe(version);
});

it('versions are compared as numbers', () => {
  const least = '8.21.1';
  for (const version of ['8.21.1', '8.21.10', '8.22.0', '9.0.0', '10.0.0']) {
    expect({ version, isAtLeast: isAtLeast(version, least) }).toEqual({ version, isAtLeast: true });
  }
  for (const version of ['8.21.0', '8.21.1-beta.1', '8.9.9', '7.99.99']) {
    expect({ version, isAtLeast: isAtLeast(version, least) }).toEqual({ version, isAtLeast: false });
  }
});
