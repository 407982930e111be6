/** Bad input over HTTP: a clear refusal, nothing stored, nobody else disturbed, no token and no body in the log. */
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describeHttp } from '../../features/specifications/openapi';
import { SERVER_EVENTS } from '../../utils/protocol';
import { forge, forgeClaims, hs256, rs256 } from '../support/forged-tokens';
import { type Answer, exchange, exchangeBytes, gzipBomb } from '../support/http';
import { expectProblemAnswer, type Refusal } from '../support/problems';
import { startService, TEST_SECRET, testToken } from '../support/service';
import { itLeftNothingBehind, MARKER, type SharedService, shareService } from '../support/shared-service';

const VICTIM_TOPICS = ['@victim', '*'];

const nowSeconds = Math.floor(Date.now() / 1000);
const json = JSON.stringify;
const bearer = (token: string) => `Bearer ${token}`;

/** A row of any table: refused as the contract says, quickly, counted, and nothing is stored. */
const expectRefused = (service: SharedService, send: () => Promise<Answer>, refusal: Refusal): Promise<Answer> =>
  service.expectRefused(send, refusal, () => storedForVictim(service));

/** How many messages are stored where the bodies of this file would put them. */
async function storedForVictim(service: SharedService): Promise<number> {
  const topics = await Promise.all(VICTIM_TOPICS.map((topic) => service.stored(topic)));
  return topics.flat().length;
}

const VALID_BODY = json({ userId: 'victim', type: MARKER, data: MARKER });

describe('authorization', () => {
  const service = shareService();
  const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = attacker.publicKey.export({ format: 'jwk' });
  const claims = { sub: 'mallory', scope: 'send admin', exp: nowSeconds + 600 };
  const valid = testToken('service', { scope: 'send' });
  const [head = '', payload = '', signature = ''] = valid.split('.');

  const unauthorized: [string, string | undefined][] = [
    ['no header', undefined],
    ['an empty header', ''],
    ['Basic', `Basic ${Buffer.from('service:secret').toString('base64')}`],
    ['another scheme', `Token ${valid}`],
    ['no scheme', valid],
    ['a scheme without a token', 'Bearer'],
    ['two tokens', `${bearer(valid)} ${valid}`],
    ['two tokens with a comma', `${bearer(valid)}, ${bearer(valid)}`],
    ['a word', bearer('abc')],
    ['three words', bearer('a.b.c')],
    ['dots', bearer('..')],
    ['no signature', bearer(`${head}.${payload}.`)],
    ['two parts', bearer(`${head}.${payload}`)],
    ['four parts', bearer(`${valid}.${signature}`)],
    [
      'another payload under the signature',
      bearer(`${head}.${Buffer.from(json(claims)).toString('base64url')}.${signature}`),
    ],
    ['a header that is not JSON', bearer(`${Buffer.from('nonsense').toString('base64url')}.${payload}.${signature}`)],
    ['alg none', bearer(forge({ alg: 'none' }, claims, () => ''))],
    ['alg nOnE', bearer(forge({ alg: 'nOnE', typ: 'JWT' }, claims, () => ''))],
    ['alg none with a signature', bearer(forge({ alg: 'none' }, claims))],
    ['no alg', bearer(forge({ typ: 'JWT' }, claims))],
    ['alg as a list', bearer(forge({ alg: ['HS256'] }, claims))],
    [
      'alg HS512 with the right secret',
      bearer(
        forge({ alg: 'HS512' }, claims, (input) => createHmac('sha512', TEST_SECRET).update(input).digest('base64url')),
      ),
    ],
    ['alg RS256 with a key of its own', bearer(forge({ alg: 'RS256' }, claims, rs256(attacker.privateKey)))],
    ['another secret', bearer(forge({ alg: 'HS256' }, claims, hs256('another secret of more than thirty-two bytes')))],
    ['the empty secret', bearer(forge({ alg: 'HS256' }, claims, hs256('')))],
    ['crit', bearer(forgeClaims(claims, { crit: ['exp'] }))],
    ['an empty crit', bearer(forgeClaims(claims, { crit: [] }))],
    ['crit with b64', bearer(forgeClaims(claims, { crit: ['b64'], b64: false }))],
    ['an embedded jwk', bearer(forge({ alg: 'RS256', jwk }, claims, rs256(attacker.privateKey)))],
    [
      'an embedded symmetric jwk',
      bearer(forge({ alg: 'HS256', jwk: { kty: 'oct', k: 'c2VjcmV0' } }, claims, hs256('secret'))),
    ],
    ['a kid that is a path', bearer(forge({ alg: 'HS256', kid: '../../../dev/null' }, claims, hs256('')))],
    ['a kid that is SQL', bearer(forge({ alg: 'HS256', kid: "x' UNION SELECT 'k" }, claims, hs256('k')))],
    ['a kid that is an object', bearer(forge({ alg: 'HS256', kid: { $ne: null } }, claims, hs256('')))],
    ['a kid of a prototype', bearer(forge({ alg: 'HS256', kid: '__proto__' }, claims, hs256('[object Object]')))],
    ['exp as text', bearer(forgeClaims({ ...claims, exp: String(nowSeconds + 600) }))],
    ['exp beyond all time', bearer(forgeClaims({ ...claims, exp: 1e20 }))],
    ['exp null', bearer(forgeClaims({ ...claims, exp: null }))],
    ['exp as a list', bearer(forgeClaims({ ...claims, exp: [nowSeconds + 600] }))],
    ['exp negative', bearer(forgeClaims({ ...claims, exp: -1 }))],
    ['nbf in the future', bearer(forgeClaims({ ...claims, nbf: nowSeconds + 300 }))],
    ['nbf as text', bearer(forgeClaims({ ...claims, nbf: String(nowSeconds) }))],
    ['iat in the future', bearer(forgeClaims({ ...claims, iat: nowSeconds + 300 }))],
    ['iat beyond all time', bearer(forgeClaims({ ...claims, iat: 1e20 }))],
    ['no sub', bearer(forgeClaims({ ...claims, sub: undefined }))],
    ['sub null', bearer(forgeClaims({ ...claims, sub: null }))],
    ['sub as a number', bearer(forgeClaims({ ...claims, sub: 1 }))],
    ['sub as an object', bearer(forgeClaims({ ...claims, sub: { $ne: null } }))],
    ['sub as a list', bearer(forgeClaims({ ...claims, sub: ['service'] }))],
    ['sub empty', bearer(forgeClaims({ ...claims, sub: '' }))],
    ['sub of 129 characters', bearer(forgeClaims({ ...claims, sub: 'a'.repeat(129) }))],
    ['sub of 10 KB', bearer(forgeClaims({ ...claims, sub: 'a'.repeat(10_240) }))],
    ['sub with a line end', bearer(forgeClaims({ ...claims, sub: 'service\n' }))],
    ['sub with NUL', bearer(forgeClaims({ ...claims, sub: 'service\u0000' }))],
    ['sub with a C1 control', bearer(forgeClaims({ ...claims, sub: 'service\u0085' }))],
    ['sub with a lone surrogate', bearer(forgeClaims({ ...claims, sub: 'service\ud800' }))],
    ['scope as an object', bearer(forgeClaims({ ...claims, scope: { $ne: null } }))],
    ['scopes as text', bearer(forgeClaims({ ...claims, scopes: 'send admin' }))],
    ['a payload that is a list', bearer(forgeClaims([claims]))],
    ['a payload that is text', bearer(forgeClaims('"service"'))],
    ['a payload that is null', bearer(forgeClaims('null'))],
    ['a payload that is not JSON', bearer(forgeClaims('{"sub":"service"'))],
    ['a payload that is empty', bearer(forgeClaims(''))],
    ['a payload with own __proto__', bearer(forgeClaims('{"__proto__":{"sub":"service","scope":"send"}}'))],
    ['a token of 9 KB', bearer(forgeClaims({ ...claims, padding: 'a'.repeat(9_000) }))],
  ];

  it.each(unauthorized)('refuses %s', async (_name, header) => {
    const token = service.keepSecret(header?.split(' ').at(-1) ?? '');
    const headers = { 'Content-Type': 'application/json', ...(header === undefined ? {} : { Authorization: header }) };
    const send = () =>
      exchange(service.url, { method: 'POST', path: '/websocket/message/user', headers, body: VALID_BODY });
    const answer = await expectRefused(service, send, { status: 401, code: 'unauthorized' });
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
    if (token.length > 8) expect(answer.text).not.toContain(token);
  });

  it('refuses a token that has expired, with its own code', async () => {
    const headers = { Authorization: bearer(service.keepSecret(forgeClaims({ ...claims, exp: nowSeconds - 1 }))) };
    const send = () => exchange(service.url, { path: '/websocket/me/status', headers });
    await expectRefused(service, send, { status: 401, code: 'token_expired' });
  });

  it.each([
    '/websocket/me/status?token=',
    '/websocket/me/status?a=1&token=',
    '/websocket/me/status?access_token=',
    '/',
  ])('takes no token from the address %s, and logs none', async (path) => {
    const send = () => exchange(service.url, { path: `${path}${service.keepSecret(valid)}` });
    const refusal: Refusal = path === '/' ? { status: 404, code: 'not_found' } : { status: 401, code: 'unauthorized' };
    const logged = service.log.lines.length;
    await expectRefused(service, send, refusal);
    expect(service.log.lines.slice(logged).join()).toContain('[redacted]');
  });

  it('fetches no key from an address in the token', async () => {
    const asked: (string | undefined)[] = [];
    const foreign = createServer((request, response) => {
      asked.push(request.url);
      response.end(json({ keys: [{ ...jwk, kid: 'k' }] }));
    });
    await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
    const address = `http://127.0.0.1:${(foreign.address() as AddressInfo).port}`;
    const header = { alg: 'RS256', kid: 'k', jku: `${address}/jku`, x5u: `${address}/x5u` };
    const headers = { Authorization: bearer(service.keepSecret(forge(header, claims, rs256(attacker.privateKey)))) };
    const send = () => exchange(service.url, { path: '/websocket/me/status', headers });
    await expectRefused(service, send, { status: 401, code: 'unauthorized' });
    await new Promise((resolve) => foreign.close(resolve));
    expect(asked).toEqual([]);
  });

  it.each([
    ['the same token twice', ['Authorization', 'Authorization'], [valid, valid]],
    ['a valid one, then another', ['Authorization', 'Authorization'], [valid, 'a.b.c']],
    ['another one, then a valid one', ['Authorization', 'authorization'], ['a.b.c', valid]],
    ['names of other case', ['AUTHORIZATION', 'authorization'], [valid, valid]],
  ])('refuses two headers: %s', async (_name, names, tokens) => {
    const lines = names.map((name, index) => `${name}: ${bearer(service.keepSecret(tokens[index] ?? ''))}`);
    const { host } = new URL(service.url);
    const head = ['GET /websocket/me/status HTTP/1.1', `Host: ${host}`, ...lines, 'Connection: close'];
    const send = () => exchangeBytes(service.url, `${head.join('\r\n')}\r\n\r\n`);
    await expectRefused(service, send, { status: 401, code: 'unauthorized' });
  });

  it('refuses a token of 64 KB, before or after reading it', async () => {
    const token = service.keepSecret(forgeClaims({ ...claims, padding: 'a'.repeat(65_536) }));
    const answer = await exchange(service.url, {
      path: '/websocket/me/status',
      headers: { Authorization: bearer(token) },
    });
    expect([401, 431]).toContain(answer.status);
    const code = answer.status === 401 ? 'unauthorized' : 'headers_too_large';
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(JSON.parse(answer.text)).toMatchObject({ status: answer.status, code });
  });

  it.each([
    ['no exp', { sub: 'anna' }],
    ['nbf and iat within the tolerance', { sub: 'anna', nbf: nowSeconds + 30, iat: nowSeconds + 30 }],
    ['a sub of 128 characters', { sub: 'a'.repeat(128) }],
    ['a sub of any script', { sub: 'Ünï-名前 💥' }],
  ])('accepts %s', async (_name, accepted) => {
    const headers = { Authorization: bearer(service.keepSecret(forgeClaims(accepted))) };
    const answer = await exchange(service.url, { path: '/websocket/me/status', headers });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({ userId: accepted.sub });
  });

  itLeftNothingBehind(service);
});

it('demands exp when JWT_REQUIRE_EXP says so', async () => {
  const { url } = await startService({ env: { JWT_REQUIRE_EXP: 'true' } });
  const status = async (claims: object) => {
    const headers = { Authorization: bearer(forgeClaims(claims)) };
    return exchange(url, { path: '/websocket/me/status', headers });
  };
  expectProblemAnswer(await status({ sub: 'anna' }), { status: 401, code: 'unauthorized' });
  expect((await status({ sub: 'anna', exp: nowSeconds + 60 })).status).toBe(200);
});

describe('a service with JWT_PUBLIC_KEY', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const claims = { sub: 'mallory', scope: 'send admin', exp: nowSeconds + 600 };

  it.each([
    ['the PEM', hs256(pem)],
    ['the PEM without its last line end', hs256(pem.trimEnd())],
    ['the DER', hs256(publicKey.export({ type: 'spki', format: 'der' }))],
    ['the PEM in the other form', hs256(publicKey.export({ type: 'pkcs1', format: 'pem' }))],
  ])('refuses HS256 signed with %s', async (_name, sign) => {
    const { url } = await startService({ env: { JWT_SECRET: '', JWT_PUBLIC_KEY: pem } });
    const status = (token: string) =>
      exchange(url, { path: '/websocket/me/status', headers: { Authorization: bearer(token) } });
    for (const header of [{ alg: 'HS256' }, { alg: 'HS256', kid: 'x' }, { alg: 'RS256' }, { alg: 'none' }]) {
      expectProblemAnswer(await status(forge(header, claims, sign)), { status: 401, code: 'unauthorized' });
    }
    expect((await status(forge({ alg: 'RS256' }, claims, rs256(privateKey)))).status).toBe(200);
  });
});

const ORDINARY_NAMES = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'toString',
  '*',
  '@anna',
  '$where',
  '../etc',
  'a/b c?d#e',
];

// The longest names in the most bytes: stores have their own limits.
it.each([...ORDINARY_NAMES, '€'.repeat(128), '💥'.repeat(64)])(
  'a user called %s is an ordinary user',
  async (userId) => {
    const service = await startService();
    const other = await service.connect('anna');
    await other.next('sync:done');
    const client = await service.connect(userId, { device: userId });
    await client.next('sync:done');
    const [sent] = await service.send(userId, [1]);
    expect(sent).toMatchObject({ topic: `@${userId}`, seq: 1, connected: true });
    expect(await client.next('message')).toMatchObject({ id: sent?.id, topic: `@${userId}`, data: { n: 1 } });
    const path = `/websocket/users/${encodeURIComponent(userId)}`;
    const { body: status } = await service.api.get(`${path}/status`).expect(200);
    expect(status).toMatchObject({ userId, connected: true, sockets: 1, devices: 1 });
    const { body: list } = await service.api.get('/websocket/users/connected').expect(200);
    expect(list).toMatchObject({ users: ['anna', userId].sort(), count: 2 });
    const { body: many } = await service.api
      .post('/websocket/message/users')
      .send({ userIds: [userId, 'ben', userId], type: 'test', data: 2 })
      .expect(200);
    expect(many.results).toMatchObject([
      { userId, seq: 2 },
      { userId: 'ben', seq: 1 },
    ]);
    const { body: ended } = await service.api.delete(`${path}/disconnect`).expect(200);
    expect(ended).toMatchObject({ userId, disconnected: 1 });
    expect(await client.next('closing')).toMatchObject({ code: 'disconnected' });
    await other.settle();
    expect(other.allMessages).toEqual([]);
  },
);

describe('bodies', () => {
  const MAX_BODY_BYTES = 64 * 1024;
  const service = shareService({ MAX_BODY_BYTES: String(MAX_BODY_BYTES) });
  const post = (body: string | Buffer, headers = {}) => service.post('/websocket/message/user', body, headers);
  const withField = (field: string) => `{"type":"${MARKER}","data":"${MARKER}",${field}}`;
  const invalid: Refusal = { status: 400, code: 'invalid_json', path: '' };
  const tooLarge: Refusal = { status: 413, code: 'body_too_large' };
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  const manyKeys = (count: number) => `{${Array.from({ length: count }, (_value, index) => `"k${index}":0`).join()}}`;

  it.each<[string, string | Buffer, Refusal]>([
    ['an empty body', '', invalid],
    ['white space', ' \r\n\t', invalid],
    ['a text that is cut', VALID_BODY.slice(0, -3), invalid],
    ['more than one value', `${VALID_BODY}${VALID_BODY}`, invalid],
    ['single quotes', `{'userId':'victim','type':'${MARKER}'}`, invalid],
    ['a comment', `/* ${MARKER} */ ${VALID_BODY}`, invalid],
    ['NaN', withField('"userId":NaN'), invalid],
    ['two byte order marks', `\ufeff\ufeff${VALID_BODY}`, invalid],
    ['UTF-16', Buffer.from(`\ufeff${VALID_BODY}`, 'utf16le'), invalid],
    ['invalid UTF-8', Buffer.from(VALID_BODY.replace('victim', 'vict\u00ff'), 'latin1'), invalid],
    [
      'overlong UTF-8',
      Buffer.concat([Buffer.from('{"userId":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]),
      invalid,
    ],
    [
      'a surrogate in UTF-8',
      Buffer.concat([Buffer.from('{"userId":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]),
      invalid,
    ],
    ['UTF-8 that is cut', Buffer.from(withField('"userId":"€')).subarray(0, -1), invalid],
    ['a raw NUL', VALID_BODY.replace('victim', 'vic\u0000tim'), invalid],
    ['NUL behind the end', `${VALID_BODY}\u0000`, invalid],
    ['an escaped NUL', withField('"userId":"vic\\u0000tim"'), { status: 400, code: 'bad_request', path: 'userId' }],
    ['a lone surrogate', withField('"userId":"victim\\ud800"'), { status: 400, code: 'bad_request', path: 'userId' }],
    [
      'surrogates in the wrong order',
      withField('"userId":"\\udc00\\ud800"'),
      { status: 400, code: 'bad_request', path: 'userId' },
    ],
    [
      'data 10,000 deep',
      `{"userId":"victim","type":"${MARKER}","data":${nested(10_000)}}`,
      { status: 400, code: 'bad_request', path: 'data' },
    ],
    [
      'a field 10,000 deep',
      withField(`"userId":${nested(10_000)}`),
      { status: 400, code: 'bad_request', path: 'userId' },
    ],
    ['a text 10,000 deep that is cut', '['.repeat(10_000), invalid],
    ['a body 10,000 deep', nested(10_000), { status: 400, code: 'bad_request', path: '' }],
    ['1M keys', manyKeys(1_000_000), tooLarge],
    ['a list', `[${VALID_BODY}]`, { status: 400, code: 'bad_request', path: '' }],
    ['a text', json(MARKER), { status: 400, code: 'bad_request', path: '' }],
    ['a number', '1', { status: 400, code: 'bad_request', path: '' }],
    ['null', 'null', { status: 400, code: 'bad_request', path: '' }],
    ['true', 'true', { status: 400, code: 'bad_request', path: '' }],
  ])('refuses %s', async (_name, body, refusal) => {
    await expectRefused(service, () => post(body), refusal);
  });

  it.each([
    ['missing', undefined],
    ['text/plain', 'text/plain'],
    ['a form', 'application/x-www-form-urlencoded'],
    ['a multipart form', 'multipart/form-data; boundary=x'],
    ['a relative of JSON', 'application/problem+json'],
    ['JSON behind something else', 'text/plain, application/json'],
    ['nonsense', 'nonsense'],
  ])('refuses the Content-Type: %s', async (_name, type) => {
    const Authorization = bearer(service.token('service', 'send'));
    const headers = { Authorization, ...(type === undefined ? {} : { 'Content-Type': type }) };
    const send = () =>
      exchange(service.url, { method: 'POST', path: '/websocket/message/user', headers, body: VALID_BODY });
    await expectRefused(service, send, { status: 415, code: 'unsupported_media_type' });
  });

  it('refuses a body of unknown type and length, too', async () => {
    const headers = { Authorization: bearer(service.token('service', 'send')), 'Transfer-Encoding': 'chunked' };
    const send = () =>
      exchange(service.url, { method: 'POST', path: '/websocket/message/user', headers, body: VALID_BODY });
    await expectRefused(service, send, { status: 415, code: 'unsupported_media_type' });
  });

  it('refuses a request without a body', async () => {
    const headers = { Authorization: bearer(service.token('service', 'send')) };
    const send = () => exchange(service.url, { method: 'POST', path: '/websocket/message/user', headers });
    await expectRefused(service, send, invalid);
  });

  it.each<[string, Buffer | string, string, Refusal]>([
    ['a gzip bomb', gzipBomb(64 * 1024 * 1024), 'gzip', tooLarge],
    ['a gzip body just over the limit', gzipSync(VALID_BODY.padEnd(MAX_BODY_BYTES + 1)), 'gzip', tooLarge],
    ['what is not gzip', VALID_BODY, 'gzip', { status: 400, code: 'bad_request' }],
    ['gzip that is cut', gzipSync(VALID_BODY).subarray(0, 20), 'gzip', { status: 400, code: 'bad_request' }],
    ['an unknown encoding', VALID_BODY, 'compress', { status: 415, code: 'unsupported_media_type' }],
    [
      'an encoding twice',
      gzipSync(gzipSync(VALID_BODY)),
      'gzip, gzip',
      { status: 415, code: 'unsupported_media_type' },
    ],
  ])('refuses %s', async (_name, body, encoding, refusal) => {
    await expectRefused(service, () => post(body, { 'Content-Encoding': encoding }), refusal);
  });

  it.each([
    ['with its length', {}],
    ['in chunks', { 'Transfer-Encoding': 'chunked' }],
  ])('refuses a body over MAX_BODY_BYTES %s', async (_name, headers) => {
    const body = withField('"userId":"victim"').padEnd(MAX_BODY_BYTES + 1);
    await expectRefused(service, () => post(body, headers), tooLarge);
  });

  itLeftNothingBehind(service);
});

describe('bodies that are unusual and valid', () => {
  const MAX_BODY_BYTES = 16 * 1024;
  const service = shareService({ MAX_BODY_BYTES: String(MAX_BODY_BYTES) });
  const base = `"userId":"accepted","type":"${MARKER}"`;

  it.each([
    ['a byte order mark', `\ufeff{${base},"data":1}`, 1],
    ['duplicate keys, of which the last counts', `{"userId":"victim",${base},"data":0,"data":1}`, 1],
    ['an unknown field', `{${base},"data":1,"unknown":{"$where":"1"}}`, 1],
    ['an unknown field that is deep', `{${base},"data":1,"unknown":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, 1],
    ['an own __proto__ that carries fields', `{${base},"data":1,"__proto__":{"event":"closing","persist":false}}`, 1],
    ['an own constructor', `{${base},"data":1,"constructor":{"prototype":{"event":"closing"}}}`, 1],
    ['data null', `{${base},"data":null}`, null],
    ['NUL in data', `{${base},"data":"a\\u0000b"}`, 'a\u0000b'],
    ['a lone surrogate in data', `{${base},"data":"\\ud800"}`, '\ud800'],
    ['data with operators', `{${base},"data":{"$where":"1","$ne":null}}`, { $where: '1', $ne: null }],
    ['one byte less than MAX_BODY_BYTES', `{${base},"data":1}`.padEnd(MAX_BODY_BYTES - 1), 1],
    ['MAX_BODY_BYTES', `{${base},"data":1}`.padEnd(MAX_BODY_BYTES), 1],
  ])('accepts %s', async (_name, body, data) => {
    const before = await service.stored('@accepted');
    const answer = await service.post('/websocket/message/user', body);
    expect(answer.status).toBe(200);
    const after = await service.stored('@accepted');
    expect(after).toHaveLength(before.length + 1);
    expect(after.at(-1)).toMatchObject({ seq: before.length + 1, type: MARKER, data, from: 'service' });
    expect(after.at(-1)).not.toHaveProperty('event');
  });

  it.each(['/websocket/message/user', '/websocket/notification'])(
    '%s keeps own keys as data, no more',
    async (path) => {
      const before = await service.stored('@accepted');
      const data = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}';
      const answer = await service.post(path, `{${base},"title":"t","body":"b","data":${data}}`);
      expect(answer.status).toBe(200);
      expect({}).not.toHaveProperty('polluted');
      const stored = (await service.stored('@accepted')).at(-1);
      expect(stored?.seq).toBe(before.length + 1);
      expect(Object.keys(stored?.data as object)).toEqual(expect.arrayContaining(['__proto__', 'constructor']));
      expect(Object.getPrototypeOf(stored?.data)).toBe(Object.prototype);
    },
  );

  itLeftNothingBehind(service);
});

it('stays quick over a body with 1M keys when such bodies are allowed', async () => {
  const service = await startService({ env: { MAX_BODY_BYTES: String(32 * 1024 * 1024) } });
  const keys = Array.from({ length: 1_000_000 }, (_value, index) => `"k${index}":0`).join();
  const send = (body: string) => service.api.post('/websocket/message/user').type('json').send(body);
  const parsedAt = performance.now();
  JSON.parse(`{${keys}}`);
  const startedAt = performance.now();
  const unknown = await send(`{${keys}}`);
  expect(unknown.body).toMatchObject({ status: 400, code: 'bad_request' });
  const data = await send(`{"userId":"victim","type":"t","data":{${keys}}}`);
  expect(data.body).toMatchObject({ status: 413, code: 'message_too_large', errors: [{ path: 'data' }] });
  // Relative to the machine: anything that is not linear takes thousands of times as long as parsing.
  expect(performance.now() - startedAt).toBeLessThan(30 * (startedAt - parsedAt));
  expect(await service.send('victim', [1])).toMatchObject([{ seq: 1 }]);
});

describe('MAX_MESSAGE_BYTES', () => {
  const MAX_MESSAGE_BYTES = 300;
  const service = shareService({ MAX_MESSAGE_BYTES: String(MAX_MESSAGE_BYTES) });
  /** Data of this many bytes as JSON, some of them in characters of three. */
  const text = (bytes: number) => `€${'a'.repeat(bytes - 5)}`;
  const routes: [string, (userId: string, bytes: number) => object][] = [
    ['/websocket/message/user', (userId, bytes) => ({ userId, type: MARKER, data: text(bytes) })],
    ['/websocket/message/users', (userId, bytes) => ({ userIds: [userId], type: MARKER, data: text(bytes) })],
    ['/websocket/message/broadcast', (_userId, bytes) => ({ type: MARKER, data: text(bytes) })],
    [
      '/websocket/notification',
      (userId, bytes) => ({ userId, title: 't', body: text(bytes - json({ title: 't', body: '' }).length + 2) }),
    ],
  ];

  it.each(routes)('%s refuses one byte more', async (path, body) => {
    const send = () => service.post(path, json(body('victim', MAX_MESSAGE_BYTES + 1)));
    await expectRefused(service, send, { status: 413, code: 'message_too_large', path: 'data' });
  });

  it.each(routes.filter(([path]) => !path.endsWith('broadcast')))('%s accepts what just fits', async (path, body) => {
    for (const bytes of [MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES]) {
      const before = await service.stored('@accepted');
      const answer = await service.post(path, json(body('accepted', bytes)));
      expect(answer.status).toBe(200);
      const stored = (await service.stored('@accepted')).at(-1);
      expect(stored?.seq).toBe(before.length + 1);
      expect(Buffer.byteLength(json(stored?.data))).toBe(bytes);
    }
  });

  itLeftNothingBehind(service);
});

interface SendRoute {
  readonly path: string;
  /** The fields of a valid body, as JSON texts. */
  readonly fields: Readonly<Record<string, string>>;
  /** Which of them are names. */
  readonly names: readonly string[];
  /** Is it for one user, for several, or for a topic? */
  readonly target: 'user' | 'users' | 'topic';
}

/** A topic that a route of this file sends to. */
const TOPIC = 'victims';

const marked = json(MARKER);
const sendRoutes: SendRoute[] = [
  {
    path: '/websocket/message/user',
    fields: { userId: '"victim"', type: marked, data: marked },
    names: ['userId', 'type'],
    target: 'user',
  },
  {
    path: '/websocket/message/users',
    fields: { userIds: '["victim"]', type: marked, data: marked },
    names: ['type'],
    target: 'users',
  },
  {
    path: '/websocket/message/broadcast',
    fields: { type: marked, data: marked },
    names: ['type'],
    target: 'topic',
  },
  {
    path: '/websocket/notification',
    fields: { userId: '"victim"', title: marked, body: marked },
    names: ['userId'],
    target: 'user',
  },
  {
    path: `/topics/${TOPIC}/messages`,
    fields: { type: marked, data: marked },
    names: ['type'],
    target: 'topic',
  },
];

/** The body of a route with fields replaced or added; `undefined` removes one. */
function bodyWith({ fields }: SendRoute, changed: Readonly<Record<string, string | undefined>>): string {
  const entries = Object.entries({ ...fields, ...changed }).filter(([, text]) => text !== undefined);
  return `{${entries.map(([name, text]) => `${json(name)}:${text}`).join()}}`;
}

const NOT_A_STRING = [
  'null',
  '1',
  'true',
  `[${marked}]`,
  '{"$ne":null}',
  `{"$where":${marked}}`,
  '{"__proto__":{"length":1}}',
  '{"constructor":{"name":"String"}}',
];
const NOT_A_NAME = ['""', json('a'.repeat(129)), '"a\\nb"', '"a\\u0000"', '"\\u0085"', '"\\ud800"'];

const soon = json(new Date(Date.now() + 3_600_000).toISOString());
const NOT_A_TIME = [
  ...['"2001-01-01T00:00:00Z"', '"1969-12-31T23:59:59.999Z"', '"9999-12-31T23:59:59Z"', '"+275761-01-01T00:00:00Z"'],
  ...['"never"', '""', '"2099-01-01"', '"2099-02-30T00:00:00Z"', '"2099-01-01T00:00:00"', '"2099-01-01T25:00:00Z"'],
  ...['4102444800000', 'null', 'true', `[${soon}]`, '{"$gt":""}'],
];
const NOT_SECONDS = ['-1', '1.5', '31536001', '1e308', '"60"', '""', 'null', 'true', '[60]', '{"$gt":0}'];
/** Fields that no send accepts as an option, whatever the recipient. */
const WRONG_OPTIONS: [option: string, values: string[]][] = [
  ['ttl', ['0', ...NOT_SECONDS]],
  ['expiresAt', NOT_A_TIME],
  ['collapseKey', [...NOT_A_STRING, ...NOT_A_NAME]],
  ['sendAt', NOT_A_TIME],
  ['delay', NOT_SECONDS],
  ['exceptUserId', [...NOT_A_STRING, ...NOT_A_NAME]],
];
/** Contradictory options; the first is named. */
const CONTRADICTIONS: [path: string, fields: Record<string, string>][] = [
  ['ttl', { ttl: '60', expiresAt: soon }],
  ['delay', { delay: '60', sendAt: soon }],
  ['ttl', { persist: 'false', ttl: '60' }],
  ['expiresAt', { persist: 'false', expiresAt: soon }],
  ['collapseKey', { persist: 'false', collapseKey: '"k"' }],
  ['sendAt', { persist: 'false', sendAt: soon }],
  ['delay', { persist: 'false', delay: '60' }],
  ['expiresAt', { delay: '7200', expiresAt: soon }],
];
const CLIENT_EVENTS = ['ping', 'ack', 'history', 'logout', 'auth:refresh', 'topic:create', 'presence:subscribe'];
const SOCKET_IO_EVENTS = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'];

describe.each(sendRoutes)('fields of $path', (route) => {
  const service = shareService();
  const refusesAll = (fields: Readonly<Record<string, string | undefined>>, refusal: Refusal) =>
    expectRefused(service, () => service.post(route.path, bodyWith(route, fields)), refusal);
  const refuses = (field: string, value: string | undefined, refusal: Refusal) =>
    refusesAll({ [field]: value }, refusal);
  const badRequest = (path: string): Refusal => ({ status: 400, code: 'bad_request', path });

  beforeAll(async () => {
    expect((await service.post('/topics', json({ name: TOPIC }))).status).toBe(201);
  });

  const texts = [...route.names, 'id', 'event', ...(route.fields['title'] === undefined ? [] : ['title', 'body'])];
  const required = Object.keys(route.fields);
  const rows: [string, string | undefined][] = [
    ...required.map((field): [string, undefined] => [field, undefined]),
    ...texts.flatMap((field) => NOT_A_STRING.map((value): [string, string] => [field, value])),
    ...route.names.flatMap((field) => NOT_A_NAME.map((value): [string, string] => [field, value])),
    ...['""', json('a'.repeat(65)), '"a\\nb"', '"\\ud800"'].map((value): [string, string] => ['id', value]),
    ...['""', json('a'.repeat(65)), '"a\\nb"', '"\\ud800"'].map((value): [string, string] => ['event', value]),
    ...['"true"', '"false"', '0', '1', 'null', '{}', '[]'].map((value): [string, string] => ['persist', value]),
  ];

  it.each(rows)('refuses %s: %s', async (field, value) => {
    await refuses(field, value, badRequest(field));
  });

  it.each([...new Set([...SERVER_EVENTS, ...SOCKET_IO_EVENTS])])('refuses the reserved event %s', async (event) => {
    await refuses('event', json(event), badRequest('event'));
  });

  it.each(CLIENT_EVENTS)('refuses %s as an event: the name is taken for clients', async (event) => {
    await refuses('event', json(event), badRequest('event'));
  });

  it.each(WRONG_OPTIONS.flatMap(([option, values]) => values.map((value): [string, string] => [option, value])))(
    'refuses the option %s: %s',
    async (option, value) => {
      await refuses(option, value, badRequest(option));
    },
  );

  it.each(CONTRADICTIONS.map(([path, fields]) => ({ path, names: Object.keys(fields).join(' with '), fields })))(
    'refuses $names',
    async ({ path, fields }) => {
      await refusesAll(fields, badRequest(path));
    },
  );

  const misfit = route.target === 'topic' ? 'collapseKey' : 'exceptUserId';
  it(`refuses ${misfit}, which has no meaning here`, async () => {
    for (const others of [{}, { persist: 'false' }, { delay: '60' }]) {
      await refusesAll({ [misfit]: '"ben"', ...others }, badRequest(misfit));
    }
  });

  it('has stored and scheduled nothing', async () => {
    expect(await service.stored(TOPIC)).toEqual([]);
    const { text } = await service.exchange({ path: '/scheduled' });
    expect(JSON.parse(text)).toEqual({ items: [], nextCursor: null });
  });

  if (route.fields['userIds'] !== undefined) {
    it.each([
      ['nobody', '[]', 'userIds'],
      ['null', 'null', 'userIds'],
      ['a text', '"victim"', 'userIds'],
      ['what looks like a list', '{"0":"victim","length":1}', 'userIds'],
      ['an operator', '{"$ne":null}', 'userIds'],
      ['null among others', '["victim",null]', 'userIds.1'],
      ['a number among others', '["victim",1]', 'userIds.1'],
      ['an operator among others', '["victim",{"$ne":null}]', 'userIds.1'],
      ['a list in the list', '[["victim"]]', 'userIds.0'],
      ['an empty name', '["victim",""]', 'userIds.1'],
      ['a name that is too long', json(['victim', 'a'.repeat(129)]), 'userIds.1'],
      ['more than 10,000', json(Array.from({ length: 10_001 }, () => 'victim')), 'userIds'],
    ])('refuses as recipients %s', async (_name, value, path) => {
      await refuses('userIds', value, badRequest(path));
    });

    it('refuses an id, which could name one message only', async () => {
      await refuses('id', '"one"', badRequest('id'));
    });
  }

  if (route.fields['title'] !== undefined) {
    it.each([
      ['title', '""'],
      ['title', json('a'.repeat(10_001))],
      ['body', json('a'.repeat(10_001))],
      ['data', 'null'],
      ['data', `[${marked}]`],
      ['data', marked],
      ['data', '1'],
      ['data', 'false'],
    ])('refuses %s that is empty, too long or of another kind (%#)', async (field, value) => {
      await refuses(field, value, badRequest(field));
    });
  }

  itLeftNothingBehind(service);
});

describe('Idempotency-Key', () => {
  const service = shareService();
  const valid: Record<string, string> = {
    ...Object.fromEntries(sendRoutes.map((route) => [route.path, bodyWith(route, {})])),
    '/api/gateway/send': json({ userId: 'victim', event: MARKER, message: MARKER }),
    '/api/gateway/send-many': json({ userIds: ['victim'], event: MARKER, message: MARKER }),
    '/messages/batch': json({ messages: [{ userId: 'victim', type: MARKER, data: MARKER }] }),
  };
  /** A header is written byte by byte. */
  const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');
  const keys: [name: string, key: string][] = [
    ['nothing', ''],
    ['256 characters', MARKER.padEnd(256, 'k')],
    ['10 KB', MARKER.padEnd(10_240, 'k')],
    ['a character of Latin-1', `${MARKER}\u00e9`],
    ['UTF-8', bytes(`${MARKER}é`)],
    ['an emoji', bytes(`${MARKER}😀`)],
    ['a tab', `${MARKER}\tk`],
  ];

  beforeAll(async () => {
    expect((await service.post('/topics', json({ name: TOPIC }))).status).toBe(201);
  });

  it.each(Object.keys(valid))('of %s is refused by name when it is no key', async (path) => {
    for (const [name, key] of keys) {
      const send = () => service.post(path, valid[path] ?? '', { 'Idempotency-Key': key });
      const answer = await expectRefused(service, send, { status: 400, code: 'bad_request', path: 'Idempotency-Key' });
      const { detail } = JSON.parse(answer.text) as { detail: string };
      expect({ name, detail }).toEqual({ name, detail: expect.stringContaining('Idempotency-Key') });
      expect(answer.text).not.toContain(MARKER);
    }
    expect(await service.stored(TOPIC)).toEqual([]);
  });

  itLeftNothingBehind(service);
});

describe('paths and queries', () => {
  const service = shareService();

  it.each<[string, Refusal]>([
    ['/websocket/users/%/status', { status: 400, code: 'bad_request', path: '' }],
    ['/websocket/users/%ff/status', { status: 400, code: 'bad_request', path: '' }],
    ['/websocket/users/%00/status', { status: 400, code: 'bad_request', path: 'userId' }],
    ['/websocket/users/%0a/status', { status: 400, code: 'bad_request', path: 'userId' }],
    [`/websocket/users/${'a'.repeat(129)}/status`, { status: 400, code: 'bad_request', path: 'userId' }],
    [`/websocket/users/${'a'.repeat(8_192)}/status`, { status: 400, code: 'bad_request', path: 'userId' }],
    ['/websocket/%', { status: 404, code: 'not_found' }],
    ['/websocket/%00', { status: 404, code: 'not_found' }],
    ['/%', { status: 404, code: 'not_found' }],
    ['/%00', { status: 404, code: 'not_found' }],
    [`/${'a'.repeat(8_192)}`, { status: 404, code: 'not_found' }],
    ['/websocket', { status: 404, code: 'not_found' }],
    ['/websocket/message/nobody', { status: 404, code: 'not_found' }],
    ['/__proto__', { status: 404, code: 'not_found' }],
    ['/websocket/constructor', { status: 404, code: 'not_found' }],
    ['/websocket/..%2f..%2fetc%2fpasswd', { status: 404, code: 'not_found' }],
    ['//[', { status: 404, code: 'not_found' }],
    ['http://[', { status: 404, code: 'not_found' }],
  ])('GET %s is refused', async (path, refusal) => {
    await expectRefused(service, () => service.exchange({ path }), refusal);
  });

  it.each([
    ['%', ''],
    ['%00', 'userId'],
    ['a'.repeat(8_192), 'userId'],
  ])('DELETE /websocket/users/%s/disconnect is refused', async (userId, path) => {
    const send = () => service.exchange({ method: 'DELETE', path: `/websocket/users/${userId}/disconnect` });
    await expectRefused(service, send, { status: 400, code: 'bad_request', path });
  });

  it('a path that is too long for the parser is answered with a problem, too', async () => {
    const answer = await service.exchange({ path: `/${'a'.repeat(20_000)}` });
    expect([414, 431]).toContain(answer.status);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  });

  it.each([
    ['limit', '-1'],
    ['limit', '0'],
    ['limit', '1e9'],
    ['limit', '1001'],
    ['limit', 'abc'],
    ['limit', ''],
    ['limit', '1.5'],
    ['limit', '%00'],
    ['limit', '0x10'],
    ['limit', '1&limit=2'],
    ['cursor', ''],
    ['cursor', 'garbage'],
    ['cursor', '%F0%9F%92%A5'],
    ['cursor', '1&cursor=2'],
    ['cursor', 'a'.repeat(2_000)],
    ['cursor', Buffer.from('x:anna').toString('base64url')],
    ['cursor', `${Buffer.from('u:anna').toString('base64url')}A`],
    ['cursor', Buffer.from([0x75, 0x3a, 0xff]).toString('base64url')],
  ])('%s=%s is refused', async (parameter, value) => {
    const send = () => service.exchange({ path: `/websocket/users/connected?${parameter}=${value}` });
    await expectRefused(service, send, { status: 400, code: 'bad_request', path: parameter });
  });

  it.each(['?__proto__=1', '?limit[]=0', '?limit[$ne]=1', '?constructor=1&toString=2', '?%', '?&&&=='])(
    'the unknown parameter %s is ignored',
    async (query) => {
      const answer = await service.exchange({ path: `/websocket/users/connected${query}` });
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.text)).toMatchObject({ users: ['bystander'], count: 1 });
    },
  );

  itLeftNothingBehind(service);
});

/** Every path of the document, with values for its parameters, and its methods. */
const PATHS = Object.entries(describeHttp('test')['paths'] as Record<string, object>)
  // Ids of messages, for the methods of the paths with an id.
  .filter(([path]) => !['/messages/batch', '/inbox/counts'].includes(path))
  .map(([path, methods]): [path: string, allowed: string[]] => [
    path.replaceAll(/\{\w+\}/g, 'victim'),
    Object.keys(methods).map((method) => method.toUpperCase()),
  ]);

describe('other methods', () => {
  const service = shareService();

  it.each(PATHS)('%s allows %j', async (path, allowed) => {
    const others = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND'].filter(
      (name) => !allowed.includes(name),
    );
    const counted = await service.refusals('method_not_allowed');
    for (const method of others) {
      const answer = await service.exchange({ method, path, headers: { 'Content-Type': 'application/json' } });
      expectProblemAnswer(answer, { status: 405, code: 'method_not_allowed' });
      const listed = answer.headers.allow?.split(', ').filter((name) => name !== 'HEAD' && name !== 'OPTIONS');
      expect(listed?.sort()).toEqual([...allowed].sort());
    }
    expect(await service.refusals('method_not_allowed')).toBe(counted + others.length);
  });

  itLeftNothingBehind(service);
});

describe.each([
  ['If-None-Match', '*'],
  ['Expect', 'nonsense'],
])('the header %s: %s', (name, value) => {
  const service = shareService();

  it.each(['/livez', '/readyz', '/healthz', '/metrics', '/docs', '/inbox'])('changes no answer of %s', async (path) => {
    const { status, text } = await service.exchange({ path, headers: { [name]: value } });
    expect({ status, isEmpty: text === '' }).toEqual({ status: 200, isEmpty: false });
  });

  itLeftNothingBehind(service);
});

describe('scopes', () => {
  const service = shareService();
  const wanted: [method: string, path: string, scope: string][] = [
    ['POST', '/websocket/message/user', 'send'],
    ['POST', '/websocket/message/users', 'send'],
    ['POST', '/websocket/message/broadcast', 'broadcast'],
    ['POST', '/websocket/notification', 'send'],
    ['GET', '/websocket/users/connected', 'presence'],
    ['GET', '/websocket/users/victim/status', 'presence'],
    ['DELETE', '/websocket/users/victim/disconnect', 'admin'],
    ['GET', '/audit', 'admin'],
  ];

  it.each(wanted)('%s %s names the scope that is missing: %s', async (method, path, scope) => {
    const others = ['send', 'broadcast', 'presence'].filter((name) => name !== scope).join(' ');
    const body = json({ userId: 'victim', userIds: ['victim'], type: MARKER, data: {}, title: MARKER, body: MARKER });
    for (const held of [undefined, '', others, scope.toUpperCase(), `${scope}er re${scope}`, `${scope},x`, `*`]) {
      const headers = { 'Content-Type': 'application/json', Authorization: bearer(service.token('mallory', held)) };
      const send = () => service.exchange({ method, path, headers, ...(method === 'POST' ? { body } : {}) });
      const answer = await expectRefused(service, send, { status: 403, code: 'insufficient_scope' });
      expect(JSON.parse(answer.text)).toMatchObject({ detail: expect.stringContaining(`\`${scope}\``) });
    }
  });

  it('refuses before it examines the body', async () => {
    const headers = { Authorization: bearer(service.token('mallory')), 'Content-Type': 'text/plain' };
    const send = () => service.exchange({ method: 'POST', path: '/websocket/message/user', headers, body: MARKER });
    await expectRefused(service, send, { status: 403, code: 'insufficient_scope' });
  });

  itLeftNothingBehind(service);
});

describe('an HTTP connection', () => {
  const service = shareService();

  it('is given 15 s for its headers and 30 s in total, checked every 5 s', () => {
    expect(service.httpServer).toMatchObject({
      headersTimeout: 15_000,
      requestTimeout: 30_000,
      connectionsCheckingInterval: 5_000,
    });
  });

  it('is closed when headers or body do not end in time, and nothing is stored', async () => {
    const { httpServer } = service;
    const { headersTimeout, requestTimeout } = httpServer;
    const { host } = new URL(service.url);
    const line = `POST /websocket/message/user HTTP/1.1\r\nHost: ${host}\r\n`;
    const authorization = `Authorization: ${bearer(service.token('service', 'send'))}\r\n`;
    const body = `Content-Type: application/json\r\nContent-Length: ${VALID_BODY.length + 1}\r\n\r\n${VALID_BODY}`;
    // Node checks every 5 s, whatever these are.
    Object.assign(httpServer, { headersTimeout: 100, requestTimeout: 200 });
    const answers = await Promise.all(
      [line, line + authorization + body].map((bytes) => exchangeBytes(service.url, bytes)),
    );
    Object.assign(httpServer, { headersTimeout, requestTimeout });
    for (const { status, text } of answers) {
      expect(status).toBe(408);
      expect(JSON.parse(text)).toMatchObject({ code: 'request_timeout', status: 408 });
    }
    expect(await service.stored('@victim')).toEqual([]);
  });

  it('that ends in the middle of a body stores nothing', async () => {
    const { host } = new URL(service.url);
    const head = [
      'POST /websocket/message/user HTTP/1.1',
      `Host: ${host}`,
      `Authorization: ${bearer(service.token('service', 'send'))}`,
      'Content-Type: application/json',
      `Content-Length: ${VALID_BODY.length + 1}`,
    ];
    const answer = await exchangeBytes(service.url, `${head.join('\r\n')}\r\n\r\n${VALID_BODY}`, { isEnding: true });
    expect([0, 400]).toContain(answer.status);
    expect(await service.stored('@victim')).toEqual([]);
  });

  it.each([
    ['what is not HTTP', '\u0016\u0003\u0001\r\n\r\n'],
    ['an unknown method', 'NONSENSE /livez HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a negative length', 'POST /websocket/message/user HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'],
    [
      'two ways to tell the length',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['a header with a control character', 'GET /livez HTTP/1.1\r\nHost: x\r\nX: a\u0001b\r\n\r\n'],
  ])('with %s is refused and closed', async (_name, bytes) => {
    const answer = await exchangeBytes(service.url, bytes);
    expect(answer.status).toBe(400);
  });

  itLeftNothingBehind(service);
});
