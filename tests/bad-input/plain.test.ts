/** Bad input over plain WebSocket: a clear answer or a close code, nothing changed, nobody else disturbed. */
import { ShiftedClock } from '../support/clock';
import { eventually } from '../support/eventually';
import { scrape } from '../support/metrics';
import { connectPlain, openPlain, type PlainClient } from '../support/plain-client';
import { expectProblem, type Refusal } from '../support/problems';
import { closeFrame, encodeRawFrame, OPCODES, openRawPlain, type RawPlain, textFrame } from '../support/raw-plain';
import { range, startService } from '../support/service';
import { MARKER, type SharedService, shareService } from '../support/shared-service';

const { text, continuation, ping, pong, close } = OPCODES;

function itLeftNothingBehind(service: SharedService): void {
  it('leaves a connected client alone', () => service.expectBystanderUnharmed());

  it('leaves no token and no payload in the log', () => service.expectSecretsUnlogged());

  it('is not a fault of the service', () => expect(service.log.errors()).toEqual([]));
}

async function metric(service: SharedService, name: string): Promise<number> {
  return (await scrape(service.url)).value(name);
}

/** Nobody except the bystander is connected, listed or counted. */
async function expectNobodyElse(service: SharedService): Promise<void> {
  await eventually(
    () => metric(service, 'tidings_connections'),
    (count) => count === 1,
  );
  const { text: list } = await service.exchange({ path: '/websocket/users/connected' });
  expect(JSON.parse(list)).toMatchObject({ users: ['bystander'], count: 1 });
}

const connect = (service: SharedService, userId = 'anna') => connectPlain(service.url, userId);

describe('frames against the protocol', () => {
  const service = shareService();
  const invalidText = Buffer.from([0x7b, 0xff, 0xfe, 0x7d]);
  const closeWith = (payload: Buffer) => encodeRawFrame({ opcode: close, payload });
  const tooLong = Buffer.concat([Buffer.from([0x81, 0xff]), Buffer.from('7fffffffffffffff', 'hex'), Buffer.alloc(4)]);
  const rows: [name: string, bytes: Buffer[], code: number][] = [
    ...range(1, 7).map((reserved): [string, Buffer[], number] => [
      `reserved bits ${reserved}`,
      [encodeRawFrame({ opcode: text, reserved, payload: '{}' })],
      1002,
    ]),
    ['unmasked', [encodeRawFrame({ opcode: text, isMasked: false, payload: '{"action":"ping"}' })], 1002],
    ['a reserved opcode', [encodeRawFrame({ opcode: 3 })], 1002],
    ['a reserved control opcode', [encodeRawFrame({ opcode: 11 })], 1002],
    ['a continuation of nothing', [encodeRawFrame({ opcode: continuation, payload: '{}' })], 1002],
    [
      'a message inside another',
      [encodeRawFrame({ opcode: text, isFinal: false, payload: '{' }), encodeRawFrame({ opcode: text, payload: '{}' })],
      1002,
    ],
    ['a ping in fragments', [encodeRawFrame({ opcode: ping, isFinal: false })], 1002],
    ['a ping of 126 bytes', [encodeRawFrame({ opcode: ping, payload: 'x'.repeat(126) })], 1002],
    ['text that is no UTF-8', [encodeRawFrame({ opcode: text, payload: invalidText })], 1007],
    [
      'text that is no UTF-8, over fragments',
      [
        encodeRawFrame({ opcode: text, isFinal: false, payload: Buffer.from([0xf0, 0x9f]) }),
        encodeRawFrame({ opcode: continuation, payload: Buffer.from([0x41]) }),
      ],
      1007,
    ],
    ['a close frame of one byte', [closeWith(Buffer.from([3]))], 1002],
    ['close code 0', [closeFrame(0)], 1002],
    ['close code 999', [closeFrame(999)], 1002],
    ['close code 1005', [closeFrame(1005)], 1002],
    ['close code 1006', [closeFrame(1006)], 1002],
    ['close code 5000', [closeFrame(5000)], 1002],
    ['a close reason that is no UTF-8', [closeWith(Buffer.from([0x03, 0xe8, 0xff, 0xff]))], 1007],
    ['a length beyond every limit', [tooLong], 1009],
    ['a length beyond MAX_BODY_BYTES', [Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0])], 1009],
  ];

  describe.each([
    ['before', () => '/ws'],
    ['after', () => `/${service.token('anna')}`],
  ])('%s the token is known:', (when, path) => {
    it.each(rows)('%s', async (_name, bytes, code) => {
      const refusal = code === 1009 ? 'body_too_large' : 'bad_request';
      const counted = await service.refusals(refusal);
      const raw = await openRawPlain(service.url, { path: path() });
      if (when === 'after') await raw.next('sync:done');
      raw.write(...bytes);
      expect(await raw.closed()).toBe(code);
      expect(await service.refusals(refusal)).toBe(counted + 1);
      await raw.ended();
      raw.socket.destroy();
      await expectNobodyElse(service);
    });
  });

  it('fragments without end are bounded', async () => {
    const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    await raw.next('sync:done');
    raw.write(encodeRawFrame({ opcode: text, isFinal: false, payload: '{"action":"ping","padding":"' }));
    const fragment = encodeRawFrame({ opcode: continuation, isFinal: false, payload: 'x'.repeat(60_000) });
    for (let sent = 0; sent < 100 && raw.closeCode === undefined && !raw.hasEnded; sent += 1) {
      await new Promise((resolve) => raw.socket.write(fragment, resolve));
    }
    expect(await raw.closed()).toBe(1009);
    raw.socket.destroy();
    await expectNobodyElse(service);
  });

  it('an unfinished fragment holds up nobody', async () => {
    const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    await raw.next('sync:done');
    raw.write(encodeRawFrame({ opcode: text, isFinal: false, payload: '{"action":' }));
    const other = await connect(service, 'ben');
    await other.settle();
    raw.write(encodeRawFrame({ opcode: ping }), encodeRawFrame({ opcode: continuation, payload: '"ping"}' }));
    expect(await raw.next('pong')).toMatchObject({ event: 'pong' });
    expect(raw.pongs).toBe(1);
    raw.socket.destroy();
    other.close();
    await expectNobodyElse(service);
  });

  it('pongs that answer nothing are ignored', async () => {
    const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    raw.write(
      ...range(1, 100).map(() => encodeRawFrame({ opcode: pong, payload: 'x' })),
      textFrame({ action: 'ping' }),
    );
    await raw.next('pong');
    raw.socket.destroy();
    await expectNobodyElse(service);
  });

  it.each(['permessage-deflate', 'permessage-deflate; client_max_window_bits', 'x-webkit-deflate-frame', ';;,='])(
    'the offer of %s is not accepted',
    async (offer) => {
      const headers = [`Sec-WebSocket-Extensions: ${offer}`];
      const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}`, headers });
      expect(raw.head).toMatch(/^HTTP\/1\.1 101 /);
      expect(raw.head).not.toMatch(/sec-websocket-extensions/i);
      await raw.next('sync:done');
    },
  );

  it('a library that offers deflate continues without', async () => {
    const path = `/${service.token('anna')}`;
    const client = openPlain(service.url, { path, perMessageDeflate: true });
    await client.next('sync:done');
    expect(client.socket.extensions).toBe('');
  });

  itLeftNothingBehind(service);
});

describe('a flood', () => {
  it('of pings is answered within the limit', async () => {
    const service = await startService();
    const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    await raw.next('sync:done');
    for (const burst of [50, 100, 150]) {
      raw.write(...range(1, 50).map(() => encodeRawFrame({ opcode: ping })));
      await raw.until(() => (raw.pongs === burst ? true : undefined), 'pong of each ping');
    }
    expect(raw.closeCode).toBeUndefined();
  });

  it('of pings in one packet ends in a cut at the latest, and others continue', async () => {
    const service = await startService();
    const other = await connectPlain(service.url, 'ben');
    const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    await raw.next('sync:done');
    raw.write(...range(1, 10_000).map(() => encodeRawFrame({ opcode: ping, payload: 'x'.repeat(100) })));
    await raw.ended();
    await other.settle();
    await eventually(
      () => service.api.get('/websocket/users/connected'),
      ({ body }) => body.count === 1,
    );
  });

  it('of pings without end is cut with 4429, and others continue', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '10' }, overrides: { clock } });
    const other = await connectPlain(service.url, 'ben');
    const raw: RawPlain = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    await raw.next('sync:done');
    for (let moment = 1; moment <= 20 && raw.closeCode === undefined; moment += 1) {
      raw.write(...range(1, 50).map(() => encodeRawFrame({ opcode: ping })));
      const isAnswered = () => raw.pongs >= moment * 50 || raw.closeCode !== undefined || undefined;
      await raw.until(isAnswered, 'answer');
      clock.shift(900);
    }
    expect(await raw.closed()).toBe(4429);
    expect(await raw.next('closing')).toMatchObject({ code: 'rate_limited' });
    await other.settle();
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body.users).toContain('ben');
    expect(body.users).not.toContain('anna');
  });
});

describe('frames that are no action', () => {
  const service = shareService();
  const rows: [name: string, frame: string | Buffer, refusal: Refusal][] = [
    ['nothing', '', { status: 400, code: 'invalid_json' }],
    ['no JSON', `${MARKER} not json`, { status: 400, code: 'invalid_json' }],
    ['JSON that is cut', '{"action":"ping"', { status: 400, code: 'invalid_json' }],
    ['two objects', '{"action":"ping"}{"action":"ping"}', { status: 400, code: 'invalid_json' }],
    ['a byte order mark', '\ufeff{"action":"ping"}', { status: 400, code: 'invalid_json' }],
    ['NaN', '{"action":"ping","ref":NaN}', { status: 400, code: 'invalid_json' }],
    ['an array', '["ping"]', { status: 400, code: 'invalid_json' }],
    ['an array of actions', '[{"action":"ping"}]', { status: 400, code: 'invalid_json' }],
    ['null', 'null', { status: 400, code: 'invalid_json' }],
    ['a text', '"ping"', { status: 400, code: 'invalid_json' }],
    ['a number', '1e999', { status: 400, code: 'invalid_json' }],
    ['brackets to a depth of 200,000', '['.repeat(200_000), { status: 400, code: 'invalid_json' }],
    ['bytes', Buffer.from('{"action":"ping"}'), { status: 400, code: 'invalid_json' }],
    ['no bytes', Buffer.alloc(0), { status: 400, code: 'invalid_json' }],
    ['no action', '{}', { status: 400, code: 'bad_request', path: 'action' }],
    ['action null', '{"action":null}', { status: 400, code: 'bad_request', path: 'action' }],
    ['action 5', '{"action":5}', { status: 400, code: 'bad_request', path: 'action' }],
    ['action an array', '{"action":["ping"]}', { status: 400, code: 'bad_request', path: 'action' }],
    ['action in a prototype', '{"__proto__":{"action":"ping"}}', { status: 400, code: 'bad_request', path: 'action' }],
    ...[
      '',
      'PING',
      ' ping',
      'constructor',
      '__proto__',
      'toString',
      'reply',
      'authenticated',
      'topic:join',
      '\u0000',
    ].map((action): [string, string, Refusal] => [
      `action ${JSON.stringify(action)}`,
      JSON.stringify({ action }),
      { status: 400, code: 'unknown_event' },
    ]),
  ];

  it.each(rows)('%s', async (_name, frame, refusal) => {
    const before = await service.refusals(refusal.code);
    const client = await connect(service);
    const reply = await client.reply(frame);
    expect(reply.ok).toBe(false);
    expectProblem('error' in reply ? reply.error : undefined, refusal);
    expect(JSON.stringify(reply)).not.toContain(MARKER);
    expect(await service.refusals(refusal.code)).toBe(before + 1);
    expect(await client.call('ping')).toMatchObject({ ok: true });
  });

  it.each([
    ['an object of depth 100,000', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
    ['an array of depth 100,000', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['an empty object', '{}'],
    ['null', 'null'],
    ['true', 'true'],
    ['a text of 100,000 characters', JSON.stringify('x'.repeat(100_000))],
  ])('a ref that is %s is left out of the reply', async (_name, ref) => {
    const client = await connect(service);
    expect(await client.reply(`{"action":"presence","on":false,"ref":${ref}}`)).toEqual({ ok: true });
  });

  itLeftNothingBehind(service);
});

describe('fields of the wrong kind', () => {
  const service = shareService({ MAX_MESSAGE_BYTES: '10000' });
  const deep = (depth: number): unknown => (depth === 0 ? 1 : [deep(depth - 1)]);
  const bad = (path: string): Refusal => ({ status: 400, code: 'bad_request', path });
  const notATopicName: unknown[] = [
    undefined,
    null,
    5,
    true,
    ['news'],
    { $ne: null },
    '',
    '*',
    '@ben',
    ' news',
    'news ',
    'a b',
    'a/b',
    '.news',
    '-news',
    '_news',
    '__proto__',
    'ñandú',
    'a\u0000b',
    'a\n',
    '\ud800',
    'a'.repeat(65),
  ];
  const notAUser: unknown[] = [undefined, null, 5, ['ben'], { $ne: null }, '', 'a'.repeat(129), 'b\u0000n', '\ud800'];
  const notATarget: unknown[] = [
    undefined,
    null,
    5,
    ['ben'],
    { $ne: null },
    '',
    '@',
    'a'.repeat(129),
    `@${'a'.repeat(129)}`,
    'b\u0000n',
    '@b\nn',
    '\ud800',
  ];
  const message = { topic_name: 'ben' };
  const rows: [action: string, fields: object, refusal: Refusal][] = [
    ...['create', 'subscribe', 'suscribe', 'unsubscribe', 'invite'].flatMap((action) =>
      notATopicName.map((topic_name): [string, object, Refusal] => [
        action,
        { topic_name, username: 'carla' },
        bad('topic_name'),
      ]),
    ),
    ...['true', 1, null, {}].map((is_private): [string, object, Refusal] => [
      'create',
      { topic_name: 'fresh', is_private },
      bad('is_private'),
    ]),
    ...notAUser.map((username): [string, object, Refusal] => [
      'invite',
      { topic_name: 'mine', username },
      bad('username'),
    ]),
    ...notATarget.map((topic_name): [string, object, Refusal] => [
      'message',
      { topic_name, content: MARKER },
      bad('topic_name'),
    ]),
    ['message', message, bad('content')],
    ['message', { ...message, content: deep(70) }, bad('content')],
    ['message', { ...message, content: deep(64) }, bad('content')],
    [
      'message',
      { ...message, content: 'x'.repeat(10_000) },
      { status: 413, code: 'message_too_large', path: 'content' },
    ],
    [
      'message',
      { ...message, type: 't', data: 'x'.repeat(10_000) },
      { status: 413, code: 'message_too_large', path: 'data' },
    ],
    ['message', { ...message, type: 't', data: deep(70) }, bad('data')],
    ['message', { ...message, data: 1 }, bad('type')],
    ['message', { ...message, data: 1, type: 5 }, bad('type')],
    ['message', { ...message, content: 1, type: '' }, bad('type')],
    ['message', { ...message, content: 1, id: '' }, bad('id')],
    ['message', { ...message, content: 1, id: 'x'.repeat(65) }, bad('id')],
    ['message', { ...message, content: 1, event: 'reply' }, bad('event')],
    ['message', { ...message, content: 1, event: 5 }, bad('event')],
    ['message', { ...message, content: 1, persist: 'no' }, bad('persist')],
    ['message', { ...message, content: 1, ttl: -5 }, { status: 400, code: 'bad_request', path: 'ttl' }],
    ['presence', { on: 'yes' }, bad('on')],
    ['presence', { on: null }, bad('on')],
    ['typing', { typing: true }, bad('topic')],
    ['typing', { topic: 5, typing: true }, bad('topic')],
    ['typing', { topic: '*', typing: true }, bad('topic')],
    ['typing', { topic: '@', typing: true }, bad('topic')],
    ['typing', { topic: '@ben' }, bad('typing')],
    ['typing', { topic: '@ben', typing: 1 }, bad('typing')],
    ['ack', { seq: 0 }, bad('topic')],
    ['ack', { topic: '@anna' }, bad('seq')],
    ['ack', { topic: '@anna', seq: '0' }, bad('seq')],
    ['ack', { topic: '@anna', seq: -1 }, bad('seq')],
    ['ack', { topic: '@anna', seq: 0.5 }, bad('seq')],
    ['ack', { topic: '@anna', seq: [0] }, bad('seq')],
    ['ack', { topic: '@anna', seq: 99 }, bad('seq')],
    ['ack', { topic: '@ben', seq: 0 }, bad('topic')],
    ['ack', { topic: '__proto__', seq: 0 }, bad('topic')],
    ['history', {}, bad('topic')],
    ['history', { topic: { $ne: null } }, bad('topic')],
    ['history', { topic: '@anna', limit: 0 }, bad('limit')],
    ['history', { topic: '@anna', limit: 201 }, bad('limit')],
    ['history', { topic: '@anna', limit: '5' }, bad('limit')],
    ['history', { topic: '@anna', after: -1 }, bad('after')],
    ['history', { topic: '@anna', before: 0 }, bad('before')],
    ['auth', {}, bad('token')],
    ['auth', { token: 5 }, bad('token')],
    ['auth', { token: '' }, bad('token')],
    ['auth', { token: { token: 'x' } }, bad('token')],
  ];
  const short = (value: object) => JSON.stringify(value).slice(0, 60);
  let sendsBefore = 0;

  beforeAll(async () => {
    await service.post('/topics', JSON.stringify({ name: 'mine' }), {
      Authorization: `Bearer ${service.token('anna')}`,
    });
    sendsBefore = await metric(service, 'tidings_sends_total');
  });

  it.each(rows.map(([action, fields, refusal]) => [`${action} ${short(fields)}`, action, fields, refusal] as const))(
    '%s',
    async (_name, action, fields, refusal) => {
      const client = await connect(service);
      await client.next('sync:done');
      const counted = await service.refusals(refusal.code);
      const reply = await client.call(action, fields);
      expect(reply.ok).toBe(false);
      expectProblem('error' in reply ? reply.error : undefined, refusal);
      expect(await service.refusals(refusal.code)).toBe(counted + 1);
      expect(await client.call('ping')).toMatchObject({ ok: true });
    },
  );

  it('nothing has changed', async () => {
    expect(await metric(service, 'tidings_sends_total')).toBe(sendsBefore);
    const { text: topics } = await service.exchange({ path: '/topics' });
    expect(JSON.parse(topics)).toMatchObject({ topics: [{ name: 'mine' }] });
    const { text: members } = await service.exchange({ path: '/topics/mine/members' });
    expect(JSON.parse(members)).toMatchObject({ members: [{ userId: 'anna' }] });
    expect(await service.stored('@ben')).toEqual([]);
  });

  itLeftNothingBehind(service);
});

describe('what belongs to others', () => {
  const service = shareService();
  /** anna has a public and a private topic; ben is a member of neither. */
  async function meet(names: { open: string; hidden: string }): Promise<{ anna: PlainClient; ben: PlainClient }> {
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    expect(await anna.call('create', { topic_name: names.open })).toMatchObject({ ok: true });
    expect(await anna.call('create', { topic_name: names.hidden, is_private: true })).toMatchObject({ ok: true });
    return { anna, ben };
  }

  async function expectRefused(client: PlainClient, action: string, fields: object, refusal: Refusal): Promise<void> {
    const reply = await client.call(action, fields);
    expect(reply.ok).toBe(false);
    expectProblem('error' in reply ? reply.error : undefined, refusal);
  }

  const membersOf = async (name: string) => {
    const { text: members } = await service.exchange({ path: `/topics/${name}/members` });
    return (JSON.parse(members) as { members: { userId: string }[] }).members.map(({ userId }) => userId);
  };

  it('inviting to a topic as a non-member', async () => {
    const { ben } = await meet({ open: 'open-1', hidden: 'hidden-1' });
    // By the frame's name for it.
    const notFound: Refusal = { status: 404, code: 'not_found', path: 'topic_name' };
    for (const username of ['ben', 'carla', 'anna']) {
      await expectRefused(ben, 'invite', { topic_name: 'open-1', username }, { status: 403, code: 'not_a_member' });
      await expectRefused(ben, 'invite', { topic_name: 'hidden-1', username }, notFound);
    }
    await expectRefused(ben, 'invite', { topic_name: 'nothing', username: 'ben' }, notFound);
    for (const action of ['suscribe', 'subscribe', 'unsubscribe'])
      await expectRefused(ben, action, { topic_name: 'nothing' }, notFound);
    expect(await membersOf('open-1')).toEqual(['anna']);
    expect(await membersOf('hidden-1')).toEqual(['anna']);
  });

  it('creating a topic with a taken name', async () => {
    const { anna, ben } = await meet({ open: 'open-2', hidden: 'hidden-2' });
    for (const client of [anna, ben]) {
      for (const topic_name of ['open-2', 'hidden-2']) {
        for (const is_private of [true, false]) {
          await expectRefused(
            client,
            'create',
            { topic_name, is_private },
            { status: 409, code: 'topic_taken', path: 'topic_name' },
          );
        }
      }
    }
    expect(await membersOf('open-2')).toEqual(['anna']);
    expect(await membersOf('hidden-2')).toEqual(['anna']);
  });

  it('leaving twice, or without being a member', async () => {
    const { ben } = await meet({ open: 'open-3', hidden: 'hidden-3' });
    const notFound: Refusal = { status: 404, code: 'not_found' };
    await expectRefused(ben, 'unsubscribe', { topic_name: 'open-3' }, notFound);
    expect(await ben.call('subscribe', { topic_name: 'open-3' })).toMatchObject({ ok: true });
    expect(await ben.call('unsubscribe', { topic_name: 'open-3' })).toMatchObject({ ok: true });
    await expectRefused(ben, 'unsubscribe', { topic_name: 'open-3' }, notFound);
    await expectRefused(ben, 'unsubscribe', { topic_name: 'hidden-3' }, notFound);
    await expectRefused(ben, 'unsubscribe', { topic_name: 'nothing' }, notFound);
    expect(await membersOf('open-3')).toEqual(['anna']);
  });

  it('reading, typing and acknowledging in topics as a non-member', async () => {
    const { anna, ben } = await meet({ open: 'open-4', hidden: 'hidden-4' });
    for (const topic of ['open-4', 'hidden-4']) {
      await expectRefused(ben, 'history', { topic }, { status: 404, code: 'not_found' });
      const refusal: Refusal =
        topic === 'open-4' ? { status: 403, code: 'not_a_member' } : { status: 404, code: 'not_found' };
      await expectRefused(ben, 'typing', { topic, typing: true }, refusal);
      await expectRefused(ben, 'ack', { topic, seq: 0 }, { status: 400, code: 'bad_request', path: 'topic' });
    }
    await anna.settle();
    expect(anna.received.map(({ event }) => event)).not.toContain('typing');
  });

  it('the personal topic of another user', async () => {
    const { anna, ben } = await meet({ open: 'open-5', hidden: 'hidden-5' });
    const named: Refusal = { status: 400, code: 'bad_request', path: 'topic_name' };
    for (const action of ['create', 'subscribe', 'suscribe', 'unsubscribe']) {
      await expectRefused(ben, action, { topic_name: '@anna' }, named);
    }
    await expectRefused(ben, 'invite', { topic_name: '@anna', username: 'ben' }, named);
    await expectRefused(ben, 'history', { topic: '@anna' }, { status: 404, code: 'not_found' });
    await expectRefused(ben, 'ack', { topic: '@anna', seq: 0 }, { status: 400, code: 'bad_request', path: 'topic' });
    expect(await anna.call('message', { topic_name: 'anna', content: 'note to self' })).toMatchObject({ ok: true });
    await anna.next('message');
    await ben.settle();
    expect(ben.allMessages).toEqual([]);
  });

  it('the broadcast topic', async () => {
    const { ben } = await meet({ open: 'open-6', hidden: 'hidden-6' });
    await expectRefused(
      ben,
      'unsubscribe',
      { topic_name: '*' },
      { status: 400, code: 'bad_request', path: 'topic_name' },
    );
    // `*` is no topic to write to; as the name of a user it is as good as any other.
    expect(await ben.call('message', { topic_name: '*', content: 'x' })).toMatchObject({ ok: true, topic: '@*' });
    expect(await service.stored('*')).toEqual([]);
  });

  itLeftNothingBehind(service);
});
