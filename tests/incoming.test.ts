/** Input is judged before it is interpreted, at every door; and what is kept of it is limited. */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { StillClock } from './support/clock';
import { eventually } from './support/eventually';
import { exchange } from './support/http';
import { connectPlain, openPlain } from './support/plain-client';
import { openRawSocket } from './support/raw-socket';
import { range, startService, type TestService } from './support/service';
import { onTestEnd } from './support/temporary';

const KIB = 1024;
const MIB = KIB * KIB;
const POLLING = '/socket.io/?EIO=4&transport=polling';
/** Four of them are within the burst of bytes of a user, five are not; each has a number that would be refused. */
const LARGE = `{"action":"ping","ref":1,"n":1e400,"x":"${'x'.repeat(900 * KIB)}"}`;

/** Watches for texts that are read as JSON. @returns how many of them were large. */
function watchReading(): () => number {
  const parse = jest.spyOn(JSON, 'parse');
  onTestEnd(() => parse.mockRestore());
  return () => parse.mock.calls.filter(([text]) => text.length > 16 * KIB).length;
}

describe('before a token has come', () => {
  it('a frame of the plain endpoint may be as long as a token needs, and no longer', async () => {
    const { url } = await startService();
    const countRead = watchReading();
    const client = openPlain(url);
    await once(client.socket, 'open');
    client.send(`{"action":"auth","x":"${'x'.repeat(16 * KIB)}"}`);
    expect((await client.closed).code).toBe(1009);
    expect(countRead()).toBe(0);
  });

  it('so may a packet of Socket.IO over WebSocket', async () => {
    const { url } = await startService();
    const countRead = watchReading();
    const raw = await openRawSocket(url);
    raw.send(`40{"x":"${'x'.repeat(16 * KIB)}"}`);
    expect(await raw.closed()).toBe(1009);
    expect(countRead()).toBe(0);
  });

  it('so may the body of a polling client', async () => {
    const { url } = await startService({ kept: ['pollingSessions', 'places', 'timers'] });
    const { text } = await exchange(url, { path: POLLING });
    const path = `${POLLING}&sid=${(JSON.parse(text.slice(1)) as { sid: string }).sid}`;
    const headers = { 'Content-Type': 'text/plain;charset=UTF-8' };
    const body = `40{"x":"${'x'.repeat(16 * KIB)}"}`;
    expect((await exchange(url, { method: 'POST', path, headers, body })).status).toBe(413);
  });

  it('of frames that were sent ahead one is read, and nothing after the refusal', async () => {
    const { url } = await startService();
    const parse = jest.spyOn(JSON, 'parse');
    onTestEnd(() => parse.mockRestore());
    const client = openPlain(url);
    await once(client.socket, 'open');
    for (const n of range(1, 50)) client.send(`{"action":"hello","n":${n}}`);
    expect((await client.closed).code).toBe(4401);
    expect(parse.mock.calls.filter(([text]) => text.startsWith('{"action":"hello"'))).toHaveLength(1);
  });
});

describe('beyond the bytes that a user may send per second', () => {
  it('a frame of the plain endpoint is refused unread, whatever connection it comes by', async () => {
    const { url } = await startService({ overrides: { clock: new StillClock() } });
    const clients = [await connectPlain(url, 'anna'), await connectPlain(url, 'anna')] as const;
    for (const client of [...clients, ...clients]) {
      client.send(LARGE);
      expect(await client.nextFrame('reply')).toMatchObject({ ref: 1, error: { code: 'bad_request' } });
    }
    const countRead = watchReading();
    clients[0].send(LARGE);
    const refused = await clients[0].nextFrame('reply');
    expect(refused).toMatchObject({ ok: false, error: { code: 'rate_limited' } });
    expect(refused).not.toHaveProperty('ref');
    expect(countRead()).toBe(0);
    // Small input continues.
    expect(await clients[0].call('ping')).toMatchObject({ ok: true });
  });

  it('a packet of Socket.IO is refused unread, by the callback of its event', async () => {
    const service = await startService({ overrides: { clock: new StillClock() } });
    const raw = await openRawSocket(service.url);
    await raw.join(service.token('anna'));
    const packet = (id: number) => `42${id}["ping",{"x":"${'x'.repeat(900 * KIB)}"}]`;
    for (const id of [1, 2, 3, 4]) expect(await raw.reply(id, packet(id))).toMatchObject({ ok: true });
    const countRead = watchReading();
    expect(await raw.reply(5, packet(5))).toMatchObject({ ok: false, error: { code: 'rate_limited' } });
    expect(countRead()).toBe(0);
    expect(await raw.reply(6, '426["ping"]')).toMatchObject({ ok: true });
  });

  it('a body is refused unread; callers who may send to everybody have no such rate, and time restores it', async () => {
    const clock = new StillClock();
    const service = await startService({ overrides: { clock } });
    const post = async (scope?: string) => {
      const headers = { Authorization: `Bearer ${service.token('anna', scope)}` };
      return (await service.anonymous.post('/topics').set(headers).type('json').send(LARGE)).status;
    };
    for (const _n of range(1, 4)) expect(await post()).toBe(400);
    const countRead = watchReading();
    expect(await post()).toBe(429);
    expect(countRead()).toBe(0);
    expect(await post('send')).toBe(400);
    clock.shift(1_000);
    expect(await post()).toBe(400);
  });
});

it('changes of whole inboxes and topics count as bytes, at every door; those that name messages do not', async () => {
  const service = await startService({ overrides: { clock: new StillClock() } });
  const [socketIo, plain] = [await service.connect('anna'), await connectPlain(service.url, 'anna')];
  const whole = { all: true, state: 'read' };
  const headers = { Authorization: `Bearer ${service.token('anna')}` };
  const patch = async () => (await service.anonymous.patch('/inbox').set(headers).send(whole)).status;
  for (const _n of range(1, 5)) {
    expect(await socketIo.call('state', whole)).toMatchObject({ ok: true });
    expect(await plain.call('state', { all: true, state: 'unread' })).toMatchObject({ ok: true });
    expect(await patch()).toBe(200);
  }
  for (const client of [socketIo, plain]) {
    expect(await client.call('state', whole)).toMatchObject({ error: { code: 'rate_limited' } });
    expect(await client.call('state', { ids: ['01ARZ3NDEKTSV4RRFFQ69G5FAV'], state: 'read' })).toMatchObject({
      error: { code: 'not_found' },
    });
  }
  expect(await patch()).toBe(429);
});

describe('bodies that do not end', () => {
  const CHUNKED = 'Transfer-Encoding: chunked';

  /** A request whose body claims to be a MiB, or does not state its size, and stops short. */
  async function beginBody(service: TestService, userId: string, size = `Content-Length: ${MIB}`): Promise<Socket> {
    const { port, hostname } = new URL(service.url);
    const socket = connectTcp(Number(port), hostname);
    socket.on('error', () => undefined);
    onTestEnd(() => {
      socket.destroy();
    });
    const head = [
      'POST /topics HTTP/1.1',
      'Host: x',
      `Authorization: Bearer ${service.token(userId)}`,
      'Content-Type: application/json',
      size,
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n${size.endsWith(CHUNKED) ? '1\r\n{\r\n' : '{"name":'}`);
    return socket;
  }

  it('are counted from their headers: of one user only a few, and nothing of them is left', async () => {
    const service = await startService();
    const held = [];
    for (const _n of range(1, 4)) held.push(await beginBody(service, 'anna'));
    await eventually(
      async () => service.balance()['incomingBytes'],
      (bytes) => bytes === 4 * MIB,
    );
    const create = (userId: string, name: string) =>
      service.anonymous
        .post('/topics')
        .set({ Authorization: `Bearer ${service.token(userId)}` })
        .send({ name });
    expect((await create('anna', 'news')).status).toBe(429);
    expect((await create('bert', 'news')).status).toBe(201);
    for (const socket of held) socket.destroy();
    await eventually(
      async () => service.balance(),
      (balance) => balance['incomingBytes'] === 0 && balance['gatheredBytes'] === 0,
    );
    expect((await create('anna', 'more')).status).toBe(201);
  });

  it('that are refused before they arrive hold nothing, whatever comes of them later', async () => {
    const service = await startService();
    const encoded = `Content-Encoding: compress\r\n${CHUNKED}`;
    for (const _n of range(1, 5)) {
      const socket = await beginBody(service, 'anna', encoded);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).toMatch(/^HTTP\/1\.1 415 /);
      socket.write('1\r\nx\r\n');
      await service.anonymous.get('/livez').expect(200);
      socket.resetAndDestroy();
    }
    await eventually(
      async () => service.balance()['incomingBytes'],
      (bytes) => bytes === 0,
    );
  });

  it('of unknown size count as far as they have arrived, and end when that is too much', async () => {
    const service = await startService();
    const held = [];
    for (const _n of range(1, 20)) held.push(await beginBody(service, 'anna', CHUNKED));
    await eventually(
      async () => service.balance()['incomingBytes'],
      (bytes) => bytes === 20,
    );
    await service.anonymous
      .post('/topics')
      .set({ Authorization: `Bearer ${service.token('anna')}` })
      .send({ name: 'news' })
      .expect(201);
    const part = 'x'.repeat(900 * KIB);
    const ends = held.map((socket) => new Promise((resolve) => socket.once('close', () => resolve('cut'))));
    for (const socket of held) socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
    expect(await Promise.race(ends)).toBe('cut');
    expect(service.balance()['incomingBytes']).toBeLessThanOrEqual(4 * MIB);
  });
});
