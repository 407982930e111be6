/**
 * Where bytes leave the service. Each of these places is bounded: a new one has to be added here, and to the bound. That
 * the bounds hold: tests/unread-answers.test.ts.
 */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { sourceFiles } from './support/sources';

const ROOT = join(__dirname, '..');

/** A call that writes to a client, on whatever it is called. */
const EXIT =
  /\b(socket|Socket\)|webSocket|tcp|engine|response|super|transport)\s*(?:\n?\s*\.\w+\([^()]*(?:\([^()]*\)[^()]*)*\)\s*)*\.(emit|send|write|end|json|sendFile|pipe|redirect|sendStatus|ping|pong)\(/g;

/** What bounds an exit. */
const BOUNDS = {
  response: 'every HTTP response is watched by its class (features/http-classes.ts) until it is taken, at most 30 s',
  connection: 'the connection looks at its backlog after the write',
  last: 'a few hundred bytes, after which the connection is closed',
  browser: 'runs in a page',
  sign: 'follows a page or a frame of states, a few bytes each',
  heartbeat: 'one at a time: the next follows the answer, and without one the connection is cut',
} as const;

const EXITS: Readonly<Record<string, Readonly<Record<string, keyof typeof BOUNDS>>>> = {
  'features/answer.ts': { 'response.end': 'response', 'response.write': 'response' },
  'features/health.ts': { 'response.json': 'response', 'response.send': 'response' },
  'features/html-pages.ts': { 'response.send': 'response' },
  'features/http-classes.ts': { 'super.end': 'response', 'super.write': 'response' },
  'features/render-error.ts': { 'response.end': 'response', 'response.send': 'response', 'socket.end': 'last' },
  'features/specifications/docs-page.ts': {
    'response.json': 'browser',
    'response.send': 'response',
    'response.sendFile': 'response',
  },
  'services/sockets/engine-refusal.ts': { 'response.end': 'response' },
  'services/sockets/plain-connection.ts': { 'tcp.write': 'connection' },
  'services/sockets/plain-websocket.ts': { 'webSocket.ping': 'heartbeat', 'webSocket.send': 'last' },
  'services/sockets/signs-of-life.ts': { 'socket.ping': 'sign' },
  'services/sockets/socket-connection.ts': { 'engine.write': 'connection', 'socket.emit': 'connection' },
  'services/sockets/upgrades.ts': { 'socket.end': 'last' },
  'services/websocket.ts': { 'Socket.emit': 'last' },
};

function exitsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = Array.from(
    text.matchAll(EXIT),
    ([, object = '', method = '']) => `${object.replace(')', '')}.${method}`,
  );
  return [...new Set(found)].sort();
}

it('bytes leave the service only where they are limited', () => {
  const files = sourceFiles(['application.ts', 'server.ts', 'features', 'handlers', 'services', 'utils']);
  const found = files.map((file) => [relative(ROOT, file), exitsOf(file)] as const);
  const expected = Object.entries(EXITS).map(([file, exits]) => [file, Object.keys(exits)]);
  expect(Object.fromEntries(found.filter(([, exits]) => exits.length > 0))).toEqual(Object.fromEntries(expected));
});

/** Socket.IO's callbacks are functions: no name gives them away. */
it('callbacks of clients are called only by their connection', () => {
  const files = sourceFiles(['features', 'handlers', 'services']);
  const calling = files.filter((file) => /\bcallback\(reply\)|\banswer\(reply\)/.test(readFileSync(file, 'utf8')));
  expect(calling.map((file) => relative(ROOT, file))).toEqual(['services/sockets/socket-connection.ts']);
});
