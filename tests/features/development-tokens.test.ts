/** Development tokens: for the service's own page on this machine, and for nobody else. */
import { generateKeyPairSync } from 'node:crypto';
import type { Request, Response } from 'express';
import { developmentRoutes } from '../../features/development-tokens';
import { captureLog } from '../support/captured-log';
import { exchange } from '../support/http';
import { expectProblemAnswer } from '../support/problems';
import { startService, type TestService } from '../support/service';

const PATH = '/development/tokens';
/** An empty secret counts as none: the service makes its own. */
const OWN_SECRET = { JWT_SECRET: '' };

interface Tokens {
  readonly users: { userId: string; token: string }[];
  readonly service: { userId: string; token: string };
}

function ask(service: TestService, headers: Record<string, string>) {
  return exchange(service.url, { method: 'POST', path: PATH, headers });
}

function portOf({ url }: TestService): string {
  return new URL(url).port;
}

it.each(['localhost', '127.0.0.1', '[::1]'])('are given to the page at %s, and are valid', async (name) => {
  const service = await startService({ env: OWN_SECRET });
  const host = `${name}:${portOf(service)}`;
  const answer = await ask(service, { Host: host, Origin: `http://${host}` });
  expect(answer.status).toBe(200);
  const { users, service: sender } = JSON.parse(answer.text) as Tokens;
  expect(users.map(({ userId }) => userId)).toEqual(['user123', 'user456', 'user789']);
  for (const { userId, token } of [...users, sender]) {
    const own = await service.anonymous.get('/websocket/me/status').set('Authorization', `Bearer ${token}`).expect(200);
    expect(own.body).toMatchObject({ userId });
  }
  await service.anonymous
    .delete('/websocket/users/user123/disconnect')
    .set('Authorization', `Bearer ${sender.token}`)
    .expect(200);
});

it('are not for other origins to read, and not kept', async () => {
  const service = await startService({ env: OWN_SECRET });
  const { headers } = await ask(service, { Origin: service.url });
  expect(headers['access-control-allow-origin']).toBeUndefined();
  expect(headers['cross-origin-resource-policy']).toBe('same-origin');
  expect(headers['cache-control']).toBe('no-store');
});

it('do not reach the log', async () => {
  const { logger, lines } = captureLog();
  const service = await startService({ env: OWN_SECRET, overrides: { logger } });
  const { status } = await ask(service, { Origin: service.url });
  expect(status).toBe(200);
  expect(lines.some((line) => line.includes(PATH))).toBe(true);
  expect(lines.filter((line) => line.includes('eyJ'))).toEqual([]);
});

it.each<[string, (port: string) => Record<string, string>]>([
  ['a program', () => ({})],
  ['a page of another site', () => ({ Origin: 'https://example.com' })],
  ['a file, or a sandboxed frame', () => ({ Origin: 'null' })],
  ['a page of another port of this machine', () => ({ Origin: 'http://localhost:3000' })],
  ['a page over https', (port) => ({ Host: `localhost:${port}`, Origin: `https://localhost:${port}` })],
  ['a name that was made to point here', (port) => ({ Host: `evil.test:${port}`, Origin: `http://evil.test:${port}` })],
  ['a name that looks like this machine', (port) => named(`localhost.evil.test:${port}`)],
  ['a name that holds the address', (port) => named(`127.0.0.1.evil.test:${port}`)],
  ['the machine under its own name', (port) => named(`workstation:${port}`)],
  ['a proxy', (port) => ({ ...named(`localhost:${port}`), 'X-Forwarded-For': '203.0.113.7' })],
  ['a proxy that follows the standard', (port) => ({ ...named(`localhost:${port}`), Forwarded: 'for=203.0.113.7' })],
])('are refused to %s', async (_who, headers) => {
  const service = await startService({ env: OWN_SECRET });
  const answer = await ask(service, { Host: `127.0.0.1:${portOf(service)}`, ...headers(portOf(service)) });
  expect(answer.status).toBe(403);
  expect(JSON.parse(answer.text)).toMatchObject({
    code: 'forbidden',
    detail: expect.stringContaining('Elsewhere copy one from what the service printed'),
  });
});

function named(host: string) {
  return { Host: host, Origin: `http://${host}` };
}

it.each([
  ['127.0.0.1', true],
  ['127.8.8.8', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['192.168.1.5', false],
  ['10.0.0.7', false],
  ['::ffff:10.0.0.7', false],
  ['fe80::1', false],
  [undefined, false],
])('from the address %s: given is %s', (remoteAddress, isGiven) => {
  const [route] = developmentRoutes((userId) => `token of ${userId}`);
  const request = {
    headers: { host: 'localhost:8090', origin: 'http://localhost:8090' },
    socket: { remoteAddress },
  } as unknown as Request;
  const written: string[] = [];
  const response = {
    removeHeader: () => undefined,
    set: () => undefined,
    writeHead: () => undefined,
    end: (text: string) => written.push(text),
  } as unknown as Response;
  const call = () => route?.handlers[0]?.(request, response, () => undefined);
  if (isGiven) {
    call();
    expect(written.join()).toContain('token of user123');
  } else {
    expect(call).toThrow('Development tokens are given only to the test page');
    expect(written).toEqual([]);
  }
});

const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PEM = publicKey.export({ type: 'spki', format: 'pem' }).toString();
const SECRET = 'a secret of somebody who has configured one';

it.each<[string, Record<string, string>]>([
  ['a secret is configured', { JWT_SECRET: SECRET }],
  ['a public key is configured', { JWT_SECRET: '', JWT_PUBLIC_KEY: PEM }],
  ['it is production', { NODE_ENV: 'production', JWT_SECRET: SECRET }],
])('do not exist where %s', async (_why, env) => {
  const service = await startService({ env });
  expectProblemAnswer(await ask(service, { Origin: service.url }), { status: 404, code: 'not_found' });
  const { text } = await service.anonymous.get('/').expect(200);
  expect(text).toContain('<meta name="development-users" content="">');
});

it('are offered by the page of a service that made its secret', async () => {
  const service = await startService({ env: OWN_SECRET });
  const { text } = await service.anonymous.get('/').expect(200);
  expect(text).toContain('<meta name="development-users" content="user123 user456 user789">');
});
