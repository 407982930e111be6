/** Bad input over an open socket: every event is answered, nobody else is affected, and the process lives. */
import type { Message, Reply } from '../../utils/protocol';
import { captureLog } from '../support/captured-log';
import { openClient } from '../support/client';
import { clockAt } from '../support/clock';
import { exchange } from '../support/http';
import { expectProblem, type Refusal } from '../support/problems';
import { openRawSocket, type RawSocket } from '../support/raw-socket';
import { range, startService, testToken } from '../support/service';
import { MARKER, type SharedService, shareService } from '../support/shared-service';
import { collectUncaught } from '../support/uncaught';

const json = JSON.stringify;
const marked = json(MARKER);
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const badRequest = (path: string): Refusal => ({ status: 400, code: 'bad_request', path });
const unknownEvent: Refusal = { status: 400, code: 'unknown_event' };
const messageTooLarge: Refusal = { status: 413, code: 'message_too_large', path: 'data' };

/** Opens a connection of this user that is up to date. */
async function join(service: SharedService, userId = 'anna', device?: string): Promise<RawSocket> {
  const raw = await openRawSocket(service.url);
  await raw.join(service.token(userId), device);
  return raw;
}

function expectRefusal(reply: Reply, refusal: Refusal): void {
  expect(reply.ok).toBe(false);
  if (!reply.ok) expectProblem(reply.error, refusal);
}

/** A row of any table: refused as the contract says, and counted; nothing is stored, the connection continues. */
async function expectRefused(
  service: SharedService,
  raw: RawSocket,
  { frames, refusal }: { frames: (string | Buffer)[]; refusal: Refusal },
): Promise<void> {
  const countedBefore = await service.refusals(refusal.code);
  expectRefusal(await raw.reply(1, ...frames), refusal);
  expect(await service.refusals(refusal.code)).toBe(countedBefore + 1);
  expect(await service.stored('@victim')).toEqual([]);
  expect(await raw.reply(2, '422["ping"]')).toMatchObject({ ok: true });
}

/** The last tests of a table: what all rows together have left. */
function itLeftNothingBehind(service: SharedService): void {
  it('leaves another connected client alone', () => service.expectBystanderUnharmed());

  it('leaves no token and no payload in the log', () => service.expectSecretsUnlogged());
}

describe('the name of an event', () => {
  const service = shareService();

  it.each([
    ['a number', '1'],
    ['zero', '0'],
    ['a negative number', '-1'],
    ['a great number', '1e308'],
    ['an empty text', '""'],
    ['unknown', '"nobody:knows"'],
    ['__proto__', '"__proto__"'],
    ['constructor', '"constructor"'],
    ['toString', '"toString"'],
    ['hasOwnProperty', '"hasOwnProperty"'],
    ['error', '"error"'],
    ['connection', '"connection"'],
    ['with NUL', '"ping\\u0000"'],
    ['with a lone surrogate', '"\\ud800"'],
    ['in another case', '"PING"'],
    ['of 100 KB', json('a'.repeat(100_000))],
  ])('is answered unknown_event when it is %s', async (_name, name) => {
    const raw = await join(service);
    await expectRefused(service, raw, { frames: [`421[${name},${marked}]`], refusal: unknownEvent });
  });

  it('is answered unknown_event when there is none', async () => {
    const raw = await join(service);
    await expectRefused(service, raw, { frames: ['421'], refusal: unknownEvent });
  });

  it.each(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'])(
    'ends the connection when Socket.IO keeps it for itself: %s',
    async (name) => {
      const other = await join(service);
      const raw = await join(service);
      raw.send(`421[${json(name)},${marked}]`);
      await raw.closed();
      expect(await other.reply(1, '421["ping"]')).toMatchObject({ ok: true });
    },
  );

  it.each([
    'authenticated',
    'connected',
    'sync:done',
    'sync:reset',
    'message:updated',
    'message:removed',
    'presence',
    'presence:join',
    'presence:leave',
    'pong',
    'messageReceived',
    'auth:expiring',
    'closing',
    'reply',
    'error',
  ])('is not relayed when it is one of the server’s: %s', async (name) => {
    const sameUser = await join(service);
    const otherUser = await join(service, 'ben');
    const raw = await join(service);
    const payload = json({ code: 'revoked', reason: MARKER, to: 'ben', topic: '@ben', room: '@ben' });
    await expectRefused(service, raw, { frames: [`421["${name}",${payload}]`], refusal: unknownEvent });
    for (const other of [sameUser, otherUser]) {
      expect(await other.reply(1, '421["ping"]')).toMatchObject({ ok: true });
      expect(other.frames.filter((frame) => frame.includes(MARKER))).toEqual([]);
    }
  });

  itLeftNothingBehind(service);
});

describe('callbacks and arguments', () => {
  it('a callback that is not last does not count: the event is carried out, nobody is answered', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    let isCalled = false;
    client.socket.emit('ping', () => (isCalled = true), 1);
    await client.next('pong');
    await client.settle();
    expect(isCalled).toBe(false);
  });

  it.each([
    ['unknown_event', 'nobody:knows', undefined],
    ['bad_request', 'ack', { topic: '@anna', seq: 'x' }],
    ['not_found', 'history', { topic: '@ben' }],
  ])('without a callback %s comes as the event error', async (code, event, payload) => {
    const service = await startService();
    const client = await service.connect('anna');
    client.socket.emit(event, payload);
    const problem = await client.next('error');
    expect(problem).toMatchObject({ code, status: expect.any(Number), message: expect.stringMatching(/\S/) });
    expect(problem['detail']).toBe(problem['message']);
    await client.settle();
    expect(client.socket.connected).toBe(true);
  });

  it('50 arguments are 49 too many, and do no harm', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    const many = range(1, 49);
    expect(await client.socket.timeout(8_000).emitWithAck('ping', ...many)).toMatchObject({ ok: true });
    const reply = await client.socket.timeout(8_000).emitWithAck('history', { topic: '@ben' }, ...many);
    expectRefusal(reply as Reply, { status: 404, code: 'not_found' });
  });

  it.each([
    ['event', '421["ping"', ''],
    ['event without a callback', '42["ping"', ''],
    ['acknowledgement', '431[0', ''],
    ['binary event', '451-1["ping",{"_placeholder":true,"num":0}', 'x'],
  ])('%s with as many arguments as a frame can hold does not end the process', async (_name, begin, binary) => {
    const uncaught = collectUncaught();
    const service = await startService();
    const anna = await service.connect('anna');
    await anna.next('sync:done');
    const raw = await openRawSocket(service.url);
    await raw.join(service.token('mallory'));
    raw.send(`${begin}${',0'.repeat(500_000)}]`, ...(binary === '' ? [] : [Buffer.from(binary)]));
    // A connection that was cut answers nothing any more; one that continues answers this.
    raw.send('429["ping"]');
    await Promise.race([raw.closed(), raw.next('439[')]);
    await service.send('anna', [1]);
    expect(await anna.next<Message>('message')).toMatchObject({ data: { n: 1 } });
    expect(uncaught).toEqual([]);
  });

  it('a reply that is requested under an odd id goes to that id only', async () => {
    const service = await startService();
    const raw = await openRawSocket(service.url);
    await raw.join(service.token('anna'));
    raw.send('4299999999999999999999["ping"]', '42007["ping"]');
    expect(await raw.next('437[')).toContain('"ok":true');
    raw.send('421["ping"]');
    expect(await raw.next('431[')).toContain('"ok":true');
  });
});

describe('binary where JSON is expected', () => {
  const service = shareService();
  const binary = Buffer.from(MARKER);
  const placeholder = '{"_placeholder":true,"num":0}';

  it.each<[string, string, string, Refusal]>([
    ['data', 'message', `{"to":"victim","type":"t","data":${placeholder}}`, badRequest('data')],
    ['inside data', 'message', `{"to":"victim","type":"t","data":{"a":[1,${placeholder}]}}`, badRequest('data')],
    ['type', 'message', `{"to":"victim","type":${placeholder},"data":1}`, badRequest('type')],
    ['to', 'message', `{"to":${placeholder},"type":"t","data":1}`, badRequest('to')],
    ['an echo', 'message', `{"message":${placeholder}}`, badRequest('message')],
    ['the echo of another client', 'message', `{"content":${placeholder}}`, badRequest('content')],
    ['the payload of message', 'message', placeholder, badRequest('')],
    ['the payload of ack', 'ack', placeholder, badRequest('topic')],
    ['seq', 'ack', `{"topic":"@anna","seq":${placeholder}}`, badRequest('seq')],
    ['the payload of history', 'history', placeholder, badRequest('topic')],
    ['topic', 'history', `{"topic":${placeholder}}`, badRequest('topic')],
    ['token', 'auth:refresh', `{"token":${placeholder}}`, badRequest('token')],
  ])('%s', async (_name, event, payload, refusal) => {
    const raw = await join(service);
    await expectRefused(service, raw, { frames: [`451-1["${event}",${payload}]`, binary], refusal });
  });

  it('a large one costs no more as a message than elsewhere', async () => {
    const raw = await join(service);
    const large = Buffer.alloc(1_000_000);
    const millisecondsOf = async (event: string) => {
      const startedAt = performance.now();
      expectRefusal(await raw.reply(1, `451-1["${event}",${placeholder}]`, large), {
        status: 400,
        code: 'bad_request',
      });
      return performance.now() - startedAt;
    };
    const elsewhere = Math.min(await millisecondsOf('history'), await millisecondsOf('history'));
    const asMessage = Math.min(await millisecondsOf('message'), await millisecondsOf('message'));
    expect(asMessage).toBeLessThan(100 + 5 * elsewhere);
  });

  itLeftNothingBehind(service);
});

describe('sizes', () => {
  const MAX_MESSAGE_BYTES = 300;
  const MAX_BODY_BYTES = 64 * 1024;
  const service = shareService({
    MAX_MESSAGE_BYTES: String(MAX_MESSAGE_BYTES),
    MAX_BODY_BYTES: String(MAX_BODY_BYTES),
  });
  /** Data of this many bytes as JSON, some of them in characters of three. */
  const text = (bytes: number) => json(`€${'a'.repeat(bytes - 5)}`);

  it.each([MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES])('data of %i bytes just fits', async (bytes) => {
    const raw = await join(service);
    const before = await service.stored('@accepted');
    const reply = await raw.reply(1, `421["message",{"to":"accepted","type":"t","data":${text(bytes)}}]`);
    expect(reply).toMatchObject({ ok: true, topic: '@accepted', seq: before.length + 1 });
    const stored = (await service.stored('@accepted')).at(-1);
    expect(Buffer.byteLength(json(stored?.data))).toBe(bytes);
  });

  it('data of one byte more is refused', async () => {
    const raw = await join(service);
    const frames = [`421["message",{"to":"victim","type":"t","data":${text(MAX_MESSAGE_BYTES + 1)}}]`];
    await expectRefused(service, raw, { frames, refusal: messageTooLarge });
  });

  it.each(['message', 'content'])('an echo of %s has the same limit', async (field) => {
    const raw = await join(service);
    const echo = (bytes: number) => `421["message",{"${field}":${text(bytes)}}]`;
    expect(await raw.reply(1, echo(MAX_MESSAGE_BYTES - 20))).toMatchObject({ ok: true });
    const refusal: Refusal = { status: 413, code: 'message_too_large' };
    await expectRefused(service, raw, { frames: [echo(MAX_MESSAGE_BYTES + 1)], refusal });
  });

  it.each([
    ['a message', `{"to":"victim","type":"t","data":${nested(10_000)}}`, 'data'],
    ['an echo', `{"message":${nested(10_000)}}`, 'message'],
    ['the echo of another client', `{"content":${nested(10_000)}}`, 'content'],
    ['a name', `{"to":${nested(10_000)},"type":"t","data":1}`, 'to'],
  ])('%s 10,000 deep is refused as bad input, no fault of the service', async (_name, payload, path) => {
    const raw = await join(service);
    const faults = service.log.errors().length;
    await expectRefused(service, raw, { frames: [`421["message",${payload}]`], refusal: badRequest(path) });
    expect(service.log.errors()).toHaveLength(faults);
  });

  it('a frame of MAX_BODY_BYTES is read, one byte more ends the connection', async () => {
    const raw = await join(service);
    const frame = (bytes: number) => {
      const [begin, end] = ['21["message",{"to":"victim","type":"t","data":"', '"}]'];
      return `4${begin}${'a'.repeat(bytes - 1 - begin.length - end.length)}${end}`;
    };
    await expectRefused(service, raw, { frames: [frame(MAX_BODY_BYTES)], refusal: messageTooLarge });
    raw.send(frame(MAX_BODY_BYTES + 1));
    expect(await raw.closed()).toBe(1009);
    expect(await service.stored('@victim')).toEqual([]);
  });

  it('one byte more over polling is answered 413', async () => {
    const client = openClient(service.url, { transports: ['polling'], auth: { token: service.token('anna') } });
    await client.next('sync:done');
    client.socket.emit('message', { to: 'victim', type: 't', data: 'a'.repeat(MAX_BODY_BYTES) });
    await client.next('disconnect');
    expect(await service.stored('@victim')).toEqual([]);
  });

  itLeftNothingBehind(service);
});

describe('ack', () => {
  const service = shareService();
  const million = `[${'0,'.repeat(400_000)}0]`;
  let messageId = '';

  beforeAll(async () => {
    const body = json({ userId: 'anna', type: 't', data: MARKER });
    const { text } = await service.post('/websocket/message/user', body);
    messageId = (JSON.parse(text) as { id: string }).id;
  });

  /** The message is still unacknowledged: a device with this name receives it on every connect. */
  async function joinAndGetMessage(): Promise<RawSocket> {
    const raw = await join(service, 'anna', 'phone');
    expect(raw.frames.filter((frame) => frame.startsWith('42["message"')).join()).toContain(messageId);
    return raw;
  }

  it.each<[string, string, Refusal]>([
    ['NaN and Infinity as JSON has them', '{"topic":"@anna","seq":null}', badRequest('seq')],
    ['Infinity', '{"topic":"@anna","seq":1e400}', badRequest('seq')],
    ['-Infinity', '{"topic":"@anna","seq":-1e400}', badRequest('seq')],
    ['a negative number', '{"topic":"@anna","seq":-1}', badRequest('seq')],
    ['a fraction', '{"topic":"@anna","seq":0.5}', badRequest('seq')],
    ['a text', '{"topic":"@anna","seq":"1"}', badRequest('seq')],
    ['true', '{"topic":"@anna","seq":true}', badRequest('seq')],
    ['a list', '{"topic":"@anna","seq":[1]}', badRequest('seq')],
    ['an operator', '{"topic":"@anna","seq":{"$gt":0}}', badRequest('seq')],
    ['a list of very many', `{"topic":"@anna","seq":${million}}`, badRequest('seq')],
    ['no seq', '{"topic":"@anna"}', badRequest('seq')],
    ['a seq of the future', '{"topic":"@anna","seq":2}', badRequest('seq')],
    ['the greatest integer', '{"topic":"@anna","seq":9007199254740991}', badRequest('seq')],
    ['a number beyond it', '{"topic":"@anna","seq":9007199254740993}', badRequest('seq')],
    ['no topic', '{"seq":1}', badRequest('topic')],
    ['topic null', '{"topic":null,"seq":1}', badRequest('topic')],
    ['topic as a list', '{"topic":["@anna"],"seq":1}', badRequest('topic')],
    ['a foreign topic', '{"topic":"@ben","seq":0}', badRequest('topic')],
    ['a topic __proto__', '{"topic":"__proto__","seq":0}', badRequest('topic')],
    ['a topic of 100 KB', json({ topic: 'a'.repeat(100_000), seq: 0 }), badRequest('topic')],
    ['nothing', 'null', badRequest('')],
    ['a text', '"@anna"', badRequest('')],
    ['a list', '["@anna",1]', badRequest('')],
    ['a list of very many', million, badRequest('')],
  ])('of %s is refused and moves nothing', async (_name, payload, refusal) => {
    const raw = await joinAndGetMessage();
    await expectRefused(service, raw, { frames: [`421["ack",${payload}]`], refusal });
  });

  it('without a payload is refused and moves nothing', async () => {
    const raw = await joinAndGetMessage();
    await expectRefused(service, raw, { frames: ['421["ack"]'], refusal: badRequest('') });
  });

  it('that is right is accepted: the message does not come again', async () => {
    const raw = await joinAndGetMessage();
    expect(await raw.reply(1, '421["ack",{"topic":"@anna","seq":1}]')).toEqual({ ok: true });
    const again = await join(service, 'anna', 'phone');
    expect(again.frames.filter((frame) => frame.startsWith('42["message"'))).toEqual([]);
  });

  itLeftNothingBehind(service);
});

describe('history', () => {
  const service = shareService();

  it.each<[string, Refusal]>([
    ...['@ben', '@', '@anna ', '@ANNA', '**', 'constructor', '__proto__', 'nobody', 'topic:@ben', '../@ben'].map(
      (topic): [string, Refusal] => [json({ topic }), { status: 404, code: 'not_found' }],
    ),
    ...['null', '1', '["@anna"]', '{"$ne":null}', '""', json('a'.repeat(1_000))].map((topic): [string, Refusal] => [
      `{"topic":${topic}}`,
      badRequest('topic'),
    ]),
    ...['0', '-1', '201', '1e9', '1e400', '0.5', '"10"', 'null', '[1]', '{"$gt":0}'].map((limit): [string, Refusal] => [
      `{"topic":"@anna","limit":${limit}}`,
      badRequest('limit'),
    ]),
    ...['-1', '0.5', '"1"', '1e400', 'null', '{}'].map((after): [string, Refusal] => [
      `{"topic":"@anna","after":${after}}`,
      badRequest('after'),
    ]),
    ...['0', '-1', '0.5', '"1"', '1e400', 'null'].map((before): [string, Refusal] => [
      `{"topic":"@anna","before":${before}}`,
      badRequest('before'),
    ]),
    ['{}', badRequest('topic')],
    ['null', badRequest('')],
    ['["@anna"]', badRequest('')],
    ['"@anna"', badRequest('')],
  ])('of %s is refused', async (payload, refusal) => {
    const raw = await join(service);
    await expectRefused(service, raw, { frames: [`421["history",${payload}]`], refusal });
  });

  it('beyond the ends of the numbers is empty', async () => {
    const raw = await join(service);
    const payload = json({
      topic: '@anna',
      after: Number.MAX_SAFE_INTEGER,
      before: Number.MAX_SAFE_INTEGER,
      limit: 200,
    });
    expect(await raw.reply(1, `421["history",${payload}]`)).toEqual({ ok: true, topic: '@anna', messages: [] });
  });

  itLeftNothingBehind(service);
});

describe('a message', () => {
  const service = shareService();
  const fields: Record<string, string> = { to: '"victim"', type: marked, data: marked };
  const messageWith = (field: string, value: string | undefined) => {
    const entries = Object.entries(fields).filter(([name]) => name !== field);
    if (value !== undefined) entries.push([field, value]);
    return `421["message",{${entries.map(([name, text]) => `"${name}":${text}`).join()}}]`;
  };
  const notAString = [
    'null',
    '1',
    'true',
    '["victim"]',
    '{"$ne":null}',
    '{"$where":"1"}',
    '{"__proto__":{"length":1}}',
  ];
  const notAName = ['""', json('a'.repeat(129)), '"a\\nb"', '"a\\u0000"', '"\\ud800"'];

  it.each<[string, string | undefined]>([
    ...['type', 'data'].map((field): [string, undefined] => [field, undefined]),
    ...['to', 'type', 'id', 'event'].flatMap((field) => notAString.map((value): [string, string] => [field, value])),
    ...['to', 'type', 'id', 'event'].flatMap((field) => notAName.map((value): [string, string] => [field, value])),
    ...['"true"', '1', '0', 'null', '{}'].map((value): [string, string] => ['persist', value]),
    ...['closing', 'authenticated', 'error', 'connect', 'disconnect', 'message'].map((name): [string, string] => [
      'event',
      json(name),
    ]),
  ])('with %s: %s is refused', async (field, value) => {
    const raw = await join(service);
    await expectRefused(service, raw, { frames: [messageWith(field, value)], refusal: badRequest(field) });
  });

  it.each([
    ['nothing', '421["message"]', ''],
    ['null', '421["message",null]', ''],
    ['a text', `421["message",${marked}]`, ''],
    ['a number', '421["message",1]', ''],
    ['a list', '421["message",["to","victim"]]', ''],
    ['an empty object', '421["message",{}]', ''],
    ['no recipient', messageWith('to', undefined), ''],
    [
      'a recipient inside an own __proto__',
      messageWith('to', undefined).replace('{', '{"__proto__":{"to":"victim"},'),
      '',
    ],
    ['a topic as a number', messageWith('to', undefined).replace('{', '{"topic":1,'), 'topic'],
    ['a topic as an operator', messageWith('to', undefined).replace('{', '{"topic":{"$ne":null},'), 'topic'],
    ['topic null', messageWith('to', undefined).replace('{', '{"topic":null,'), 'topic'],
  ])('that is or has %s is refused', async (_name, frame, path) => {
    const raw = await join(service);
    await expectRefused(service, raw, { frames: [frame], refusal: badRequest(path) });
  });

  it('says who sent it by the token, whatever its own fields say', async () => {
    const ben = await join(service, 'ben');
    const raw = await join(service);
    const lies = { from: 'admin', seq: 99, topic: '@victim', timestamp: '1999-01-01T00:00:00Z', userId: 'victim' };
    const reply = await raw.reply(1, `421["message",${json({ to: 'ben', type: 't', data: MARKER, ...lies })}]`);
    expect(reply).toMatchObject({ ok: true, topic: '@ben', seq: 1 });
    const [, message] = JSON.parse((await ben.next('42["message"')).slice(2)) as [string, Message];
    expect(message).toMatchObject({
      topic: '@ben',
      seq: 1,
      from: 'anna',
      timestamp: expect.stringMatching(/^20[2-9]/),
    });
    expect(await service.stored('@victim')).toEqual([]);
  });

  it.each([
    ['message', 'messageReceived', { success: true, message: 'Message received by server' }],
    ['content', 'message', { type: 'echo' }],
  ])('with %s is an echo, only to its sender', async (field, event, expected) => {
    const other = await join(service);
    const raw = await join(service);
    const reply = await raw.reply(1, `421["message",{"${field}":{"$ne":null,"text":${marked}}}]`);
    expect(reply).toMatchObject({ ok: true });
    const frame = raw.frames.find((text) => text.startsWith(`42["${event}"`)) ?? '[]';
    expect(JSON.parse(frame.slice(2))).toMatchObject([event, expected]);
    expect(frame).toContain(MARKER);
    expect(await other.reply(1, '421["ping"]')).toMatchObject({ ok: true });
    expect(other.frames.join()).not.toContain(MARKER);
    expect(await service.stored('@anna')).toEqual([]);
  });

  itLeftNothingBehind(service);
});

describe('rooms', () => {
  const service = shareService();

  it.each([
    ['join', '"@ben"'],
    ['join', '{"room":"@ben"}'],
    ['subscribe', '{"topic":"@ben"}'],
    ['room', '"topic:@ben"'],
    ['topic:join', '{"name":"@ben"}'],
    ['topic:create', '{"name":"@ben"}'],
    ['topic:create', '{"name":"topic:@ben/"}'],
    ['topic:join', '{"name":"*"}'],
    ['topic:join', '{"name":["@ben"]}'],
    ['typing', '{"topic":["@ben"],"typing":true}'],
  ])('cannot be named by a client: %s %s', async (event, payload) => {
    const ben = await join(service, 'ben');
    const raw = await join(service, 'anna', '@ben');
    const reply = await raw.reply(1, `421["${event}",${payload}]`);
    expect(reply).toMatchObject({ ok: false, error: { status: 400 } });
    const body = json({ userId: 'ben', type: 't', data: MARKER, persist: false });
    expect((await service.post('/websocket/message/user', body)).status).toBe(200);
    expect(await ben.next('42["message"')).toContain(MARKER);
    expect(await raw.reply(2, '422["ping"]')).toMatchObject({ ok: true });
    expect(raw.frames.join()).not.toContain(MARKER);
  });

  it.each(['@ben', '*', 'topic:@ben', 'ben'])('are not those of a user called %s', async (userId) => {
    const ben = await join(service, 'ben');
    const mallory = userId === 'ben' ? await join(service, 'BEN', 'ben') : await join(service, userId, '@ben');
    const body = json({ userId: 'ben', type: 't', data: MARKER, persist: false });
    expect((await service.post('/websocket/message/user', body)).status).toBe(200);
    expect(await ben.next('42["message"')).toContain(MARKER);
    expect(await mallory.reply(2, '422["ping"]')).toMatchObject({ ok: true });
    expect(mallory.frames.join()).not.toContain(MARKER);
  });

  itLeftNothingBehind(service);
});

describe('auth:refresh', () => {
  const service = shareService();

  it.each<[string, string, Refusal]>([
    ['no token', '{}', badRequest('token')],
    ['token null', '{"token":null}', badRequest('token')],
    ['token empty', '{"token":""}', badRequest('token')],
    ['token as an object', '{"token":{"$ne":null}}', badRequest('token')],
    ['garbage', '{"token":"a.b.c"}', { status: 401, code: 'unauthorized' }],
    ['a token of 100 KB', json({ token: 'a'.repeat(100_000) }), { status: 401, code: 'unauthorized' }],
    ['a token of somebody else', json({ token: testToken('ben') }), { status: 403, code: 'forbidden', path: 'token' }],
  ])('with %s is refused, and the connection continues', async (_name, payload, refusal) => {
    service.keepSecret(JSON.parse(payload).token ?? '');
    const raw = await join(service);
    await expectRefused(service, raw, { frames: [`421["auth:refresh",${payload}]`], refusal });
  });

  itLeftNothingBehind(service);
});

describe('a flood of events', () => {
  const PER_SECOND = 2;
  const BURST = 4 * PER_SECOND;

  async function startLimited() {
    let now = Date.now();
    const service = await startService({
      env: { SOCKET_EVENTS_PER_SECOND: String(PER_SECOND) },
      overrides: { clock: clockAt(() => now) },
    });
    const client = await service.connect('anna');
    await client.next('sync:done');
    return { service, client, wait: (milliseconds: number) => (now += milliseconds) };
  }

  it('is refused beyond burst and rate; acknowledgements are not counted', async () => {
    const { client, wait } = await startLimited();
    for (const _ of range(1, BURST)) expect(await client.call('ping')).toMatchObject({ ok: true });
    const refusal: Refusal = { status: 429, code: 'rate_limited' };
    for (const _ of range(1, 3)) expectRefusal(await client.call('ping'), refusal);
    for (const _ of range(1, 50)) expect(await client.call('ack', { topic: '@anna', seq: 0 })).toEqual({ ok: true });
    expectRefusal(await client.call('nobody:knows'), refusal);
    wait(1_000);
    for (const _ of range(1, PER_SECOND)) expect(await client.call('ping')).toMatchObject({ ok: true });
    expectRefusal(await client.call('ping'), refusal);
    client.socket.emit('ping');
    expect(await client.next('error')).toMatchObject({ code: 'rate_limited' });
  });

  it('of 5 s ends the connection, and tells it why; others continue', async () => {
    const { service, client, wait } = await startLimited();
    const ben = await service.connect('ben');
    await ben.next('sync:done');
    for (const _ of range(1, BURST)) await client.call('ping');
    for (const _ of range(1, 10)) {
      expectRefusal(await client.call('ping'), { status: 429, code: 'rate_limited' });
      wait(500);
      // What 500 ms have refilled is spent, so the next one is refused again.
      expect(await client.call('ping')).toMatchObject({ ok: true });
    }
    client.socket.emit('ping');
    expect(await client.next('closing')).toEqual({
      code: 'rate_limited',
      reason: expect.stringMatching(/\S/),
      retryInMs: null,
    });
    expect(await client.next('disconnect')).toBe('io server disconnect');
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body).toMatchObject({ users: ['ben'] });
    expect(await ben.call('ping')).toMatchObject({ ok: true });
  });

  it('with a pause of more than a second in it is no flood of 5 s', async () => {
    const { client, wait } = await startLimited();
    for (const _ of range(1, BURST)) await client.call('ping');
    for (const _ of range(1, 5)) {
      expectRefusal(await client.call('ping'), { status: 429, code: 'rate_limited' });
      wait(1_500);
      for (const __ of range(1, 3)) expect(await client.call('ping')).toMatchObject({ ok: true });
    }
    expectRefusal(await client.call('ping'), { status: 429, code: 'rate_limited' });
    expect(client.socket.connected).toBe(true);
  });

  it('of 10,000 in one burst is answered or cut, and costs others nothing', async () => {
    const service = await startService();
    const ben = await service.connect('ben');
    await ben.next('sync:done');
    const raw = await openRawSocket(service.url);
    await raw.join(service.token('anna'));
    raw.send(...range(1, 10_000).map((id) => `42${id}["ping"]`));
    await service.send('ben', [1]);
    expect(await ben.next<Message>('message')).toMatchObject({ data: { n: 1 } });
    expect(await ben.call('ping')).toMatchObject({ ok: true });
    await Promise.race([raw.closed(), raw.next('4310000[')]);
    const accepted = raw.frames.filter((frame) => /^43\d+\[\{"ok":true/.test(frame));
    expect(accepted.length).toBeGreaterThanOrEqual(100);
    expect(accepted.length).toBeLessThan(1_000);
  });
});

it('100 sockets of one user each get one copy, the 101st is refused', async () => {
  const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '100' } });
  const raws = await Promise.all(range(1, 100).map(() => openRawSocket(service.url)));
  await Promise.all(raws.map((raw) => raw.join(service.token('anna'))));
  const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
  expect(body).toMatchObject({ sockets: 100, devices: 1 });
  const further = openClient(service.url, { auth: { token: service.token('anna') } });
  const error = await further.next<Error & { data: unknown }>('connect_error');
  expectProblem(error.data, { status: 429, code: 'too_many_connections' });
  await service.send('anna', [1]);
  for (const raw of raws) await raw.reply(1, '421["ping"]');
  expect(raws.map((raw) => raw.frames.filter((frame) => frame.startsWith('42["message"')).length)).toEqual(
    raws.map(() => 1),
  );
});

describe('a fault inside', () => {
  /** A service whose clock throws on demand, as anything could. */
  async function startFaulty() {
    let faults: unknown[] = [];
    const log = captureLog();
    const clock = clockAt(() => {
      if (faults.length > 0) throw faults.shift();
      return Date.now();
    });
    const service = await startService({ overrides: { clock, logger: log.logger } });
    const client = await service.connect('anna');
    await client.next('sync:done');
    return { service, client, log, throwNext: (fault: unknown) => (faults = [fault]) };
  }

  it.each([
    ['an error', new Error('the fault within')],
    ['an error without a stack', Object.assign(new Error('the fault within'), { stack: undefined })],
    ['a text', 'the fault within'],
    ['nothing', undefined],
    ['null', null],
    ['an object', { reason: 'the fault within' }],
  ])('that throws %s is answered internal, logged and counted, and the process lives', async (_name, fault) => {
    const { service, client, log, throwNext } = await startFaulty();
    throwNext(fault);
    // Patience for an answer that may never come: then the handler's promise was rejected.
    const reply = (await client.socket.timeout(1_000).emitWithAck('ping')) as Reply;
    expectRefusal(reply, { status: 500, code: 'internal' });
    expect(json(reply)).not.toContain('the fault within');
    expect(log.errors()).toHaveLength(1);
    const { text } = await exchange(service.url, { path: '/metrics' });
    expect(text).toContain('tidings_refusals_total{code="internal"} 1\n');
    expect(await client.call('ping')).toMatchObject({ ok: true });
  });

  it('logs what it was', async () => {
    const { client, log, throwNext } = await startFaulty();
    throwNext(new Error('the fault within'));
    await client.call('ping');
    expect(log.errors()).toMatchObject([
      { err: { message: 'the fault within', stack: expect.stringContaining('at ') } },
    ]);
  });

  it('comes as the event error when there is no callback', async () => {
    const { client, throwNext } = await startFaulty();
    throwNext(new Error('the fault within'));
    client.socket.emit('ping');
    const problem = await client.next('error');
    expect(problem).toMatchObject({ code: 'internal', status: 500 });
    expect(json(problem)).not.toContain('the fault within');
    expect(await client.call('ping')).toMatchObject({ ok: true });
  });

  it('is reported to a request with the id under which it is logged', async () => {
    const { service, log, throwNext } = await startFaulty();
    throwNext(new Error('the fault within'));
    const { status, body } = await service.api.get('/websocket/me/status');
    expect(status).toBe(500);
    expectProblem(body, { status: 500, code: 'internal' });
    expect(json(body)).not.toContain('the fault within');
    expect(log.errors()).toMatchObject([{ requestId: body.requestId, err: { message: 'the fault within' } }]);
    await service.api.get('/websocket/me/status').expect(200);
  });
});
