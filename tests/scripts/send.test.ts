/** `npm run send`: its request to the service, and what it prints about answers and mistakes. */

import { generateKeyPairSync } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { send } from '../../scripts/send';
import { freePort } from '../support/process';
import { testToken } from '../support/service';
import { shareService } from '../support/shared-service';
import { onTestEnd, temporaryDirectory } from '../support/temporary';
import { runToEnd, type Surroundings, startCommand } from './commands';

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const PUBLIC_KEY_ENV = {
  JWT_SECRET: '',
  JWT_PUBLIC_KEY: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
};
const service = shareService({ MAX_MESSAGE_BYTES: '200', MAX_BODY_BYTES: '2048' });

function run(args: readonly string[], around: Surroundings = {}) {
  return runToEnd(send, ['--url', service.url, ...args], around);
}

/** What the service has of a topic, without what differs from run to run. */
async function stored(topic: string) {
  return (await service.stored(topic)).map(({ type, data, from }) => ({ type, data, from }));
}

describe('sending', () => {
  it('makes a notification of a title and a body', async () => {
    const { code, stdout, stderr } = await run(['--to', 'anna', '--title', 'Hello', '--body', 'World']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      /^Message sent to user anna\nid \w{26} {2}topic @anna {2}seq 1 {2}connected no {2}live ok\n$/,
    );
    const { text: history } = await service.exchange({ path: '/inbox', headers: bearer('anna') });
    expect(JSON.parse(history)).toMatchObject({
      items: [{ type: 'notification', data: { title: 'Hello', body: 'World' }, from: 'service' }],
    });
  });

  it('sends to everyone', async () => {
    const { code } = await run(['--broadcast', '--type', 'system', '--data', '{"n":1}', '--sub', 'ops']);
    expect(code).toBe(0);
    expect(await stored('*')).toEqual([{ type: 'system', data: { n: 1 }, from: 'ops' }]);
  });

  it('sends to a topic, and says if it does not exist', async () => {
    await service.post('/topics', '{"name":"news"}');
    expect(await run(['--topic', 'news', '--title', 'A', '--body', '-'], { stdin: 'one\ntwo\n' })).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('topic news  seq 1'),
    });
    expect(await stored('news')).toEqual([
      { type: 'notification', data: { title: 'A', body: 'one\ntwo' }, from: 'service' },
    ]);
    expect(await run(['--topic', 'nowhere', '--title', 'A'])).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^There is no such topic, .*--topic.*\n$/),
    });
  });

  it('sends to several users, a line each', async () => {
    const { code, stdout } = await run(['--to', 'bo', '--to', 'cy', '--type', 'x', '--data', '-'], { stdin: '[1]' });
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^Message sent to 2 users\nuserId bo {2}id \w{26} {2}seq 1 {2}connected no\nuserId cy {2}id \w{26} {2}seq 1 .*\n$/,
    );
  });

  it('prints the answer as JSON', async () => {
    const { stdout } = await run(['--to', 'dee', '--type', 'x', '--id', 'd1', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ success: true, id: 'd1', topic: '@dee', seq: 1, connected: false });
    expect(stdout).toMatch(/^[^\n]+\n$/);
  });

  it('reports that a repeat was sent before, and when a scheduled message comes', async () => {
    const args = ['--to', 'eve', '--title', 'A', '--id', 'e1'];
    await run(args);
    expect((await run(args)).stdout).toMatch(/^Message sent to user eve \(a repeat: it was sent before\)\nid e1 /);
    expect((await run(['--to', 'eve', '--title', 'A', '--delay', '1h'])).stdout).toMatch(
      /^Message scheduled\nid \w{26} {2}topic @eve {2}scheduledFor 20\S+Z\n$/,
    );
  });

  it('takes the token from the environment, so that no command line contains it', async () => {
    const env = { TIDINGS_TOKEN: testToken('shop', { scope: 'send' }), JWT_SECRET: '', NODE_ENV: 'production' };
    await run(['--to', 'fay', '--type', 'x'], { env });
    expect((await service.stored('@fay')).map(({ from }) => from)).toEqual(['shop']);
  });
});

it('hands each option to the service as it is meant', async () => {
  const { url, requests } = await startRecorder();
  const options = ['--event', 'offer', '--id', 'i', '--ttl', '15m', '--delay', '90', '--collapse-key', 'k'];
  const more = ['--expires-at', 'E', '--send-at', 'S', '--except-user', 'x', '--live-only', '--idempotency-key', 'key'];
  await runToEnd(send, [
    '--url',
    url,
    '--topic',
    'a/b',
    '--title',
    'T',
    '--data',
    '{"link":"/1"}',
    ...options,
    ...more,
  ]);
  expect(requests).toEqual([
    {
      target: 'POST /topics/a%2Fb/messages',
      key: 'key',
      body: {
        type: 'notification',
        data: { title: 'T', body: '', link: '/1' },
        event: 'offer',
        id: 'i',
        ttl: 900,
        delay: 90,
        collapseKey: 'k',
        expiresAt: 'E',
        sendAt: 'S',
        exceptUserId: 'x',
        persist: false,
      },
    },
  ]);
});

it('fails if one of several recipients does not receive it', async () => {
  const error = { code: 'store_full', detail: 'There is no space left.' };
  const url = await startServer((_request, response) => {
    const results = [
      { userId: 'bo', id: 'i', seq: 1, connected: false },
      { userId: 'cy', error },
    ];
    response.end(JSON.stringify({ success: true, message: 'Message sent to 2 users', results }));
  });
  const { code, stdout } = await runToEnd(send, ['--url', url, '--to', 'bo', '--to', 'cy', '--type', 'x']);
  expect(code).toBe(1);
  expect(stdout).toMatch(/\nuserId cy {2}error store_full: There is no space left\.\n$/);
});

describe('mistakes', () => {
  const TO = ['--to', 'gus'];
  const MESSAGE = [...TO, '--title', 'A'];

  it.each<[string, readonly string[], string | RegExp, Surroundings?]>([
    ['nobody to send to', ['--title', 'A'], 'Name a recipient: --to USER, --topic NAME or --broadcast'],
    ['two targets', [...MESSAGE, '--broadcast'], 'Name a recipient:'],
    ['nothing to send', TO, 'Give a message: --title TEXT'],
    ['a body without a title', [...TO, '--body', 'b'], '--body needs --title.'],
    ['an empty title', [...TO, '--title', ''], '--title must not be empty.'],
    ['data that is no JSON', [...TO, '--data', 'secret{'], "--data must be JSON, for example '{"],
    ['data beside a title that is no object', [...MESSAGE, '--data', '1'], '--data must be a JSON object'],
    ['two things on standard input', [...MESSAGE, '--body', '-', '--data', '-'], 'cannot both come from standard'],
    ['a time without a form', [...MESSAGE, '--ttl', 'soon'], '--ttl must be a number of seconds, or a time like 90s'],
    ['an unknown option', [...MESSAGE, '--titel', 'A'], 'There is no option --titel; did you mean --title?'],
    ['an option without a value', ['--to'], '--to needs a value'],
    ['an option for a value', ['--to', '--title', 'A'], '--to needs a value; one that begins with a dash'],
    ['a value for a flag', [...MESSAGE, '--broadcast=yes'], '--broadcast takes no value.'],
    ['options that npm has taken', ['gus', 'A'], 'npm needs -- before the first option'],
    ['a URL without a scheme', [...MESSAGE, '--url', 'localhost:8090'], '--url must be http:// or https://'],
    ['a URL of another scheme', [...MESSAGE, '--url', 'ws://localhost'], '--url must be http:// or https://'],
    ['a URL with a path', [...MESSAGE, '--url', 'http://localhost/x'], '--url must be scheme, host and port only'],
    ['a URL with a password', [...MESSAGE, '--url', 'http://a:b@c'], '--url must be scheme, host and port only'],
    ['a token that is none', [...MESSAGE, '--token', 's3cret'], '--token must be a token: three parts'],
    ['a token that is empty', [...MESSAGE, '--token', ''], '--token must be a token'],
    ['a token and a user', [...MESSAGE, '--token', 'a.b.c', '--sub', 'a'], '--sub and --token exclude each other'],
    ['a sender without a name', [...MESSAGE, '--sub', ''], '--sub must not be empty.'],
    [
      'a key that no header can carry',
      [...MESSAGE, '--idempotency-key', 'ä'],
      '--idempotency-key must contain visible',
    ],
    ['a service that only checks tokens', MESSAGE, 'and give it with --token.', { env: PUBLIC_KEY_ENV }],
    ['a configuration that is wrong', MESSAGE, 'LOG_LEVEL must be one of', { env: { LOG_LEVEL: 'loud' } }],
  ])('are reported before anything is sent: %s', async (_name, args, words, around = {}) => {
    const { code, stdout, stderr } = await run(args, around);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(words);
    expect(stderr).not.toMatch(/s3cret|secret\{|^ {4}at /m);
    expect(await service.stored('@gus')).toEqual([]);
  });

  it('all options taken by npm leave a trace', async () => {
    const { code, stderr } = await runToEnd(send, [], { env: { npm_config_title: 'A' } });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('npm needs -- before the first') });
  });

  it('PORT=0 says nothing about where the service is', async () => {
    const { code, stderr } = await runToEnd(send, MESSAGE, { env: { PORT: '0' } });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('give its address with --url') });
  });

  it.each<[string, () => readonly string[], string, Surroundings?]>([
    ['a token of another secret', () => [], 'set its JWT_SECRET or DATA_DIR', { env: { JWT_SECRET: 'another' } }],
    ['a given token of another secret', () => token(`${testToken('a').slice(0, -4)}AAAA`), 'npm run token where the'],
    ['a token that has expired', () => token(testToken('a', { lifetimeSeconds: -1 })), 'The token has expired: make'],
    ['a token without scope', () => token(testToken('a')), 'lacks the scope send: make one with npm run'],
    [
      'a token without the scope for everyone',
      () => [...token(testToken('a', { scope: 'send' })), '--broadcast'],
      'lacks the scope broadcast: make one with npm run token -- --sub NAME --scope broadcast.',
    ],
    ['a message that is too large', () => ['--body', 'b'.repeat(300)], 'The message is too large: data has'],
    ['a body that is too large', () => ['--body', 'b'.repeat(3_000)], 'MAX_BODY_BYTES'],
    ['a time that is none', () => ['--send-at', 'noon'], '--send-at must be a time like 2030'],
    ['options that contradict', () => ['--ttl', '9', '--live-only'], '--ttl cannot be combined with persist: false'],
    ['a reserved event', () => ['--event', 'ack'], '--event is reserved for the service: choose another name.'],
    ['a key that is too long', () => ['--idempotency-key', 'k'.repeat(300)], '--idempotency-key must have at most'],
  ])('that the service finds are reported with what to do: %s', async (_name, args, words, around = {}) => {
    const given = args();
    const target = given.includes('--broadcast') ? [] : ['--to', 'hal'];
    const { code, stdout, stderr } = await run([...target, '--title', 'A', ...given], around);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^[^\n]+\n$/);
    expect(stderr).not.toContain('eyJ');
    expect(await service.stored('@hal')).toEqual([]);
  });

  it('a secret of another data directory is another secret', async () => {
    const env = { JWT_SECRET: '', DATA_DIR: temporaryDirectory() };
    expect((await run(MESSAGE, { env })).stderr).toContain('The token was refused: invalid signature.');
  });
});

describe('what is not the service', () => {
  type Handler = (request: IncomingMessage, response: ServerResponse) => void;

  it.each<[string, Handler, RegExp]>([
    ['a page', (_, response) => void response.setHeader('Content-Type', 'text/html').end('<p>'), /200 with text\/html/],
    ['JSON of something else', (_, response) => void response.writeHead(404).end('{"error":1}'), /404 with no type/],
    ['an empty answer', (_, response) => void response.end(), /200 with no type/],
    [
      'a redirect',
      (_, response) => void response.writeHead(301, { Location: 'https://x.test/\u0090' }).end(),
      /301 and points to https:\/\/x\.test\/\\u0090/,
    ],
    ['a proxy', (_, response) => void response.writeHead(502).end('<p>'), /^A proxy answers at .* \(502\)\.$/],
    ['a closed connection', (request) => void request.socket.destroy(), /closed the connection without an answer/],
    ['an endless answer', (_, response) => void response.end('x'.repeat(5_000_000)), /the answer is too long/],
  ])('%s', async (_name, handler, words) => {
    const { code, stderr } = await runToEnd(send, ['--url', await startServer(handler), '--to', 'a', '--title', 'A']);
    expect(code).toBe(1);
    expect(stderr.trimEnd()).toMatch(words);
    expect(stderr).toMatch(/^[^\n]+\n$/);
  });

  it('silence', async () => {
    const url = await startServer(() => undefined);
    const { code, stderr } = await runToEnd(send, ['--url', url, '--to', 'a', '--title', 'A', '--timeout', '1s']);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `${url} does not answer: check --url, and that the service is running. The message may have been sent anyway: with --id, repeating it is safe.\n`,
    });
  });

  it('silence, until Ctrl-C', async () => {
    const requests = new EventEmitter();
    const url = await startServer(() => void requests.emit('request'));
    const asked = once(requests, 'request');
    const sending = startCommand(send, ['--url', url, '--to', 'a', '--title', 'A']);
    await asked;
    sending.interrupt();
    const { code, stderr } = await sending.finished;
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^Interrupted\. The message may have/) });
  });

  it('nothing at all', async () => {
    const port = await freePort();
    const { code, stderr } = await runToEnd(send, ['--to', 'a', '--title', 'A'], { env: { PORT: String(port) } });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `Nothing listens at http://localhost:${port}: start the service with npm start, or give its address with --url.\n`,
    });
  });

  it('http where https was asked for', async () => {
    const args = ['--url', service.url.replace('http', 'https'), '--to', 'a', '--title', 'A'];
    expect((await runToEnd(send, args)).stderr).toMatch(/does not speak https: try http:\/\/ in --url\.\n$/);
  });
});

it('prints its usage', async () => {
  const { code, stdout } = await runToEnd(send, ['--help']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('npm run send -- --to USER') });
});

function token(text: string): readonly string[] {
  return ['--token', text];
}

function bearer(userId: string): Record<string, string> {
  return { Authorization: `Bearer ${testToken(userId)}` };
}

async function startServer(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that accepts everything, and keeps the requests. */
async function startRecorder() {
  const requests: { target: string; key: unknown; body: unknown }[] = [];
  const url = await startServer((request, response) => {
    void text(request).then((body) => {
      const target = `${request.method} ${request.url}`;
      requests.push({ target, key: request.headers['idempotency-key'], body: JSON.parse(body) as unknown });
      response.end('{"success":true,"message":"Sent"}');
    });
  });
  return { url, requests };
}
