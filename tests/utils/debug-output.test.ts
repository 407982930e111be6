/** DEBUG would put tokens into the output of a service: in production it does not start, elsewhere it warns. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, parseConfig } from '../../utils/config';
import { findPrinting, PRINTING_NAMES } from '../../utils/debug-output';
import { captureLog } from '../support/captured-log';
import { startService } from '../support/service';

const PACKAGES = [
  ...['engine.io', 'socket.io', 'socket.io-parser', 'socket.io-adapter'],
  ...['express', 'router', 'body-parser', 'send', 'serve-static', 'finalhandler'],
];
const SECRET = 'x'.repeat(32);

/** The names under which a package prints, as its sources have them. */
function namesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return /^(node_modules|client-dist|esm.*)$/.test(entry.name) ? [] : namesIn(path);
    if (!/\.c?js$/.test(entry.name)) return [];
    const uses = readFileSync(path, 'utf8').matchAll(/(?:require\('debug'\)|debug_1\.default\))\(['"]([^'"]+)['"]\)/g);
    return Array.from(uses, ([, name = '']) => name);
  });
}

it('knows every name under which an installed library of the doors prints', () => {
  const names = PACKAGES.flatMap((name) => namesIn(join(__dirname, '../../node_modules', name)));
  expect([...new Set(names)].sort()).toEqual([...PRINTING_NAMES].sort());
});

it.each([
  ['*', PRINTING_NAMES.length],
  ['engine', 1],
  ['engine*', 7],
  ['engine:*', 6],
  ['socket.io:*,engine', 8],
  ['*.io*', 8],
  ['*,-engine*', PRINTING_NAMES.length - 7],
  ['*,-*', 0],
  ['app:* app', 0],
  ['false', 0],
  ['1', 0],
  ['socketxio:*', 0],
  ['', 0],
  [undefined, 0],
])('DEBUG=%s turns on %i of them', (debug, count) => {
  expect(findPrinting(debug)).toHaveLength(count);
});

it.each(['*', 'engine*', 'engine', 'socket.io:socket', 'express:*', 'app,router'])(
  'in production DEBUG=%s is a fault of the configuration',
  (debug) => {
    const environment = { NODE_ENV: 'production', JWT_SECRET: SECRET, DEBUG: debug };
    const parse = () => parseConfig(environment);
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(/^ {2}DEBUG must /m);
  },
);

it.each(['app:*', 'false', '*,-*', ''])('in production DEBUG=%s is not its business', (debug) => {
  expect(parseConfig({ NODE_ENV: 'production', JWT_SECRET: SECRET, DEBUG: debug }).isProduction).toBe(true);
});

it('elsewhere the log warns', async () => {
  const log = captureLog();
  await startService({ env: { DEBUG: 'engine' }, overrides: { logger: log.logger } });
  expect(log.lines.filter((line) => line.includes('DEBUG'))).toHaveLength(1);
  const quiet = captureLog();
  await startService({ env: { DEBUG: 'app' }, overrides: { logger: quiet.logger } });
  expect(quiet.lines.filter((line) => line.includes('DEBUG'))).toEqual([]);
});
