/** Bodies as programs frame and write them: empty ones, and numbers that would be rounded. */
import { gzipSync } from 'node:zlib';
import { exchange } from './support/http';
import { connectPlain } from './support/plain-client';
import { startService, type TestService } from './support/service';

const EMPTY: [name: string, headers: Record<string, string>, body: string | Buffer | undefined][] = [
  ['no body', {}, undefined],
  ['Content-Length: 0', { 'Content-Length': '0' }, undefined],
  ['Content-Length: 0 and a type', { 'Content-Length': '0', 'Content-Type': 'application/json' }, undefined],
  ['Content-Length: 0 and another type', { 'Content-Length': '0', 'Content-Type': 'text/plain' }, undefined],
  ['chunks without bytes', { 'Transfer-Encoding': 'chunked' }, ''],
  ['chunks without bytes and a type', { 'Transfer-Encoding': 'chunked', 'Content-Type': 'application/json' }, ''],
  ['chunks without bytes and another type', { 'Transfer-Encoding': 'chunked', 'Content-Type': 'text/plain' }, ''],
  ['nothing, compressed', { 'Content-Encoding': 'gzip', 'Content-Type': 'application/json' }, gzipSync('')],
];

const send = (service: TestService, path: string, headers: Record<string, string>, body?: string | Buffer) =>
  exchange(service.url, {
    method: 'POST',
    path,
    headers: { Authorization: `Bearer ${service.token('service', 'send admin')}`, ...headers },
    ...(body === undefined ? {} : { body }),
  });

describe.each(EMPTY)('%s', (...[, headers, body]) => {
  it('is no body: accepted where it is optional, refused where it is not', async () => {
    const service = await startService();
    await service.api.post('/topics').send({ name: 'news' }).expect(201);
    expect((await send(service, '/topics/news/members', headers, body)).status).toBe(200);
    expect((await send(service, '/users/anna/revoke', headers, body)).status).toBe(200);
    const { status, text } = await send(service, '/websocket/message/user', headers, body);
    expect({ status, problem: JSON.parse(text) as unknown }).toMatchObject({
      status: 400,
      problem: { code: 'invalid_json', detail: 'The body is empty: send JSON.' },
    });
  });
});

const JSON_TYPE = { 'Content-Type': 'application/json' };
const withNumber = (number: string) => `{"userId":"anna","type":"x","data":{"list":[1.10,1e2,0.1,${number}]}}`;

describe('numbers that a double cannot hold', () => {
  it.each<[path: string, body: string, place: string]>([
    ['/websocket/message/user', withNumber('9007199254740993'), 'data.list.3'],
    ['/websocket/message/user', withNumber('1e400'), 'data.list.3'],
    ['/websocket/notification', '{"userId":"a","title":"t","body":"b","data":{"n":-1e400}}', 'data.n'],
    [
      '/messages/batch',
      '{"messages":[{"userId":"a","type":"x","data":1},{"userId":"a","type":"x","data":9007199254740993}]}',
      'messages.1.data',
    ],
    ['/api/gateway/send', '{"userId":"a","event":"x","message":9007199254740993}', 'message'],
    ['/websocket/message/user', '{"userId":"a","type":"x","data":1,"other":9007199254740993}', 'other'],
  ])('are refused at %s: %s', async (path, body, place) => {
    const service = await startService();
    const { status, text } = await send(service, path, JSON_TYPE, body);
    expect(status).toBe(400);
    expect(JSON.parse(text)).toMatchObject({ code: 'bad_request', errors: [{ path: place }] });
  });

  it('others are kept', async () => {
    const service = await startService();
    expect((await send(service, '/websocket/message/user', JSON_TYPE, withNumber('9007199254740992'))).status).toBe(
      200,
    );
  });
});

describe('numbers that a double cannot hold, over sockets', () => {
  const NUMBERS = [
    ['9007199254740993', 400],
    ['1e400', 400],
    ['9007199254740992', undefined],
  ] as const;
  const list = (number: string) => `{"list":[0.1,${number}]}`;
  const refused = (path: string) => ({ ok: false, error: { status: 400, code: 'bad_request', errors: [{ path }] } });

  it.each(['websocket', 'polling'])(
    'are refused over Socket.IO by %s with their position, and the connection stays',
    async (transport) => {
      const service = await startService();
      const client = await service.connect('anna', { transports: [transport] });
      const { engine } = client.socket.io;
      for (const [id, [number, status]] of NUMBERS.entries()) {
        const answered = new Promise<string>((resolve) => {
          engine.on('data', (text: string) => text.startsWith(`43${id + 100}`.slice(1)) && resolve(text));
        });
        engine.write(`2${id + 100}["message",{"to":"ben","type":"x","data":${list(number)}}]`);
        const [reply] = JSON.parse((await answered).replace(/^\d+/, '')) as [unknown];
        expect(reply).toMatchObject(status === undefined ? { ok: true } : refused('data.list.1'));
      }
      expect(await client.call('ping')).toMatchObject({ ok: true });
    },
  );

  it('are refused over the plain endpoint with their position, and the connection stays', async () => {
    const service = await startService();
    const client = await connectPlain(service.url, 'anna');
    for (const [ref, [number, status]] of NUMBERS.entries()) {
      client.socket.send(`{"action":"message","ref":${ref},"topic_name":"@ben","content":${list(number)}}`);
      const expected = status === undefined ? { ok: true } : refused('content.list.1');
      expect(await client.next('reply')).toMatchObject({ ref, ...expected });
    }
  });
});

describe('an Idempotency-Key', () => {
  const key = { ...JSON_TYPE, 'Idempotency-Key': 'k1' };
  const deep = `{"userId":"anna","type":"x","data":1,"x":${'['.repeat(10_000)}${']'.repeat(10_000)}}`;

  it('accepts a body of any depth', async () => {
    const service = await startService();
    const first = await send(service, '/websocket/message/user', key, deep);
    expect(first.status).toBe(200);
    const again = await send(service, '/websocket/message/user', key, deep);
    expect(again).toMatchObject({ status: 200, text: first.text, headers: { 'idempotent-replay': 'true' } });
    const other = await send(service, '/websocket/message/user', key, deep.replace(']]}', '],[]]}'));
    expect(other.status).toBe(422);
  });

  it('tells bodies apart by their bytes', async () => {
    const service = await startService();
    const body = (text: string) => `{"userId":"anna","type":"x","data":${text}}`;
    expect((await send(service, '/websocket/message/user', key, body('1'))).status).toBe(200);
    expect((await send(service, '/websocket/message/user', key, body('1.0'))).status).toBe(422);
    expect((await send(service, '/websocket/message/user', key, body('1'))).status).toBe(200);
  });
});
