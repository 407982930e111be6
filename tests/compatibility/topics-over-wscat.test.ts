/** Compatibility: topics over `wscat -c ws://localhost:5000/<token>`, with the frames of that document as printed. */
import { eventually } from '../support/eventually';
import { forgeClaims } from '../support/forged-tokens';
import { startService, type TestService } from '../support/service';
import { Wscat } from '../support/wscat';

const DAY_SECONDS = 86_400;
/** A token of the document: its claims are what `gen_tokens.py` wrote, its signature and its day are past. */
const PRINTED_TOKEN =
  'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE2ODIzNDkwMzUsImlhdCI6MTY4MjI2MjYzNSwic3ViIjoib21hciIsInBheWxvYWQiOnsiZGVzY3JpcHRpb24iOiJUZXN0IHRva2VuIn19.BYeL0-7k_bM2BvLS0Me-vvd0om-WkXGSvuhm4WPuxWs';

/** The command as it is printed, with this port and this token. */
function wscat(service: TestService, token: string): Wscat {
  return new Wscat(`wscat -c ws://localhost:${new URL(service.url).port}/${token}`);
}

/** A token as `gen_tokens.py` makes it: claims in its order, valid for a day. */
function generatedToken(sub: string): string {
  const iat = Math.floor(Date.now() / 1000);
  return forgeClaims({ exp: iat + DAY_SECONDS, iat, sub, payload: { description: 'Test token' } });
}

async function join(service: TestService, user: string): Promise<Wscat> {
  const client = wscat(service, generatedToken(user));
  await client.next('connected');
  return client;
}

const untilAway = (service: TestService, user: string) =>
  eventually(
    () => service.api.get(`/websocket/users/${user}/status`),
    ({ body }) => body.connected === false,
  );

describe('connection and authentication', () => {
  it.each(['omar', 'diego', 'satoshi', 'memoor'])('%s is admitted with the token in the path', async (user) => {
    const service = await startService();
    const client = wscat(service, generatedToken(user));
    expect(await client.next('authenticated')).toMatchObject({ userId: user });
    expect(await client.next('connected')).toMatchObject({ userId: user });
  });

  it('refuses the printed token, which has expired', async () => {
    const service = await startService();
    const client = wscat(service, PRINTED_TOKEN);
    expect(await client.next('error')).toMatchObject({ status: 401 });
    expect(await client.ended).toBe(0);
  });
});

describe('actions', () => {
  it('subscribe to a public topic', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    await omar.reply('{"action": "create","topic_name": "public_topic_to_suscribe", "is_private": false}');
    const diego = await join(service, 'diego');
    const reply = await diego.reply('{"action": "suscribe","topic_name": "public_topic_to_suscribe"}');
    expect(reply).toMatchObject({ ok: true, name: 'public_topic_to_suscribe', userId: 'diego' });
    await omar.reply('{"action": "message","topic_name": "public_topic_to_suscribe","content": "Hello"}');
    expect(await diego.next('message')).toMatchObject({ topic: 'public_topic_to_suscribe', from: 'omar' });
  });

  it('create topics, public or private', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    const created = await omar.reply('{"action": "create","topic_name": "create_new_topic", "is_private": true}');
    expect(created).toMatchObject({ ok: true, name: 'create_new_topic', isPrivate: true, owner: 'omar' });
    const open = await omar.reply('{"action": "create","topic_name": "noticias", "is_private": false}');
    expect(open).toMatchObject({ ok: true, name: 'noticias', isPrivate: false });
    const again = await omar.reply('{"action": "create","topic_name": "noticias", "is_private": false}');
    expect(again).toMatchObject({ ok: false, error: { status: 409, code: 'topic_taken' } });
  });

  it('invite users to private topics of which one is a member', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    const eder = await join(service, 'eder');
    await omar.reply('{"action": "create","topic_name": "private_topic_name_to_invite", "is_private": true}');
    const alone = await eder.reply('{"action": "suscribe","topic_name": "private_topic_name_to_invite"}');
    expect(alone).toMatchObject({ ok: false, error: { status: 404, code: 'not_found' } });
    const self = await eder.reply(
      '{"action": "invite","topic_name": "private_topic_name_to_invite","username": "eder"}',
    );
    expect(self).toMatchObject({ ok: false, error: { status: 404, code: 'not_found' } });
    const invited = await omar.reply(
      '{"action": "invite","topic_name": "private_topic_name_to_invite","username": "eder"}',
    );
    expect(invited).toMatchObject({ ok: true, userId: 'eder' });
    await omar.reply('{"action": "message","topic_name": "private_topic_name_to_invite","content": "Welcome"}');
    expect(await eder.next('message')).toMatchObject({ topic: 'private_topic_name_to_invite', from: 'omar' });
    const further = await eder.reply(
      '{"action": "invite","topic_name": "private_topic_name_to_invite","username": "diego"}',
    );
    expect(further).toMatchObject({ ok: true, userId: 'diego' });
  });

  it('send messages to a topic', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    await omar.reply('{"action": "create","topic_name": "noticias", "is_private": false}');
    const diego = await join(service, 'diego');
    await diego.reply('{"action": "suscribe","topic_name": "noticias"}');
    const reply = await diego.reply(
      '{"action": "message","topic_name": "noticias","content": "Content of the message"}',
    );
    expect(reply).toMatchObject({ ok: true, success: true, topic: 'noticias', seq: 1, connected: true });
    expect(await omar.next('message')).toEqual({
      event: 'message',
      id: expect.any(String),
      topic: 'noticias',
      seq: 1,
      type: 'chat',
      data: { content: 'Content of the message' },
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      from: 'diego',
    });
  });

  it('send messages to a user, whose name is in place of the topic', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    const satoshi = await join(service, 'satoshi');
    const reply = await omar.reply('{"action": "message","topic_name": "satoshi","content": "Content of the message"}');
    expect(reply).toMatchObject({ ok: true, topic: '@satoshi', connected: true });
    expect(await satoshi.next('message')).toMatchObject({
      topic: '@satoshi',
      from: 'omar',
      data: { content: 'Content of the message' },
    });
  });

  it('disconnect in a normal way', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    expect(await omar.reply('{"action": "disconnect"}')).toEqual({ ok: true });
    expect(await omar.ended).toBe(0);
    const { body } = await untilAway(service, 'omar');
    expect(body).toMatchObject({ connected: false, sockets: 0 });
  });
});

describe('pending messages', () => {
  it('of a topic reach an offline member, in order and once', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    await omar.reply('{"action": "create","topic_name": "noticias", "is_private": false}');
    const diego = await join(service, 'diego');
    await diego.reply('{"action": "suscribe","topic_name": "noticias"}');
    await diego.reply('{"action": "disconnect"}');
    await diego.ended;
    await untilAway(service, 'diego');
    for (const content of ['one', 'two', 'three']) {
      await omar.reply({ action: 'message', topic_name: 'noticias', content });
    }
    const back = await join(service, 'diego');
    await back.next('sync:done');
    expect(back.messages.map(({ topic, seq, data }) => ({ topic, seq, data }))).toEqual([
      { topic: 'noticias', seq: 1, data: { content: 'one' } },
      { topic: 'noticias', seq: 2, data: { content: 'two' } },
      { topic: 'noticias', seq: 3, data: { content: 'three' } },
    ]);
    await back.reply('{"action": "disconnect"}');
    await back.ended;
    await untilAway(service, 'diego');
    const later = await join(service, 'diego');
    await later.next('sync:done');
    expect(later.messages).toEqual([]);
  });

  it('of a private topic reach a member who was invited while offline', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    await omar.reply('{"action": "create","topic_name": "create_new_topic", "is_private": true}');
    await omar.reply('{"action": "invite","topic_name": "create_new_topic","username": "eder"}');
    await omar.reply('{"action": "message","topic_name": "create_new_topic","content": "Content of the message"}');
    const eder = await join(service, 'eder');
    expect(await eder.next('message')).toMatchObject({ topic: 'create_new_topic', from: 'omar' });
  });

  it('to a user reach an offline user, even over a restart', async () => {
    const service = await startService();
    const omar = await join(service, 'omar');
    const reply = await omar.reply('{"action": "message","topic_name": "memoor","content": "Content of the message"}');
    expect(reply).toMatchObject({ ok: true, topic: '@memoor', connected: false });
    const again = await service.restart();
    const memoor = await join(again, 'memoor');
    expect(await memoor.next('message')).toMatchObject({
      topic: '@memoor',
      from: 'omar',
      data: { content: 'Content of the message' },
    });
  });
});
