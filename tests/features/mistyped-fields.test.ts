/** A field that nobody reads although it resembles an option is reported in the answer and in the log. */
import { captureLog } from '../support/captured-log';
import { startService } from '../support/service';
import { TRANSPORTS } from '../support/transports';

const WARNING = ['ttll is not known; did you mean ttl?'];
const mistyped = { type: 'x', data: { ttll: 'is theirs' }, ttll: 60 };

it.each<[path: string, body: object, status: number]>([
  ['/websocket/message/user', { userId: 'anna', ...mistyped }, 200],
  ['/websocket/message/user', { userId: 'anna', ...mistyped, delay: 60 }, 202],
  ['/websocket/message/users', { userIds: ['anna'], ...mistyped }, 200],
  ['/websocket/message/broadcast', mistyped, 200],
  ['/websocket/notification', { userId: 'anna', title: 'a', body: 'b', ttll: 60 }, 200],
  ['/topics/news/messages', mistyped, 200],
])('POST %s with %j', async (path, body, status) => {
  const service = await startService();
  await service.api.post('/topics').send({ name: 'news' }).expect(201);
  const { body: answer } = await service.api.post(path).send(body).expect(status);
  expect(answer).toMatchObject({ warnings: WARNING });
});

it('the gateway reports it too', async () => {
  const service = await startService();
  for (const [path, body] of [
    ['send', { userId: 'anna', event: 'x', message: 1, mesage: 2 }],
    ['send-many', { userIds: ['anna'], event: 'x', message: 1, mesage: 2 }],
  ] as const) {
    const { body: answer } = await service.api.post(`/api/gateway/${path}`).send(body).expect(200);
    expect(answer).toMatchObject({ warnings: ['mesage is not known; did you mean message?'] });
  }
});

it('an item of a batch has its own', async () => {
  const service = await startService();
  const messages = [
    { userId: 'anna', ...mistyped },
    { userId: 'anna', type: 'x', data: 1 },
    { broadcast: true, ...mistyped },
  ];
  const { body } = await service.api.post('/messages/batch').send({ messages }).expect(200);
  expect(body.results.map(({ warnings }: { warnings?: string[] }) => warnings)).toEqual([WARNING, undefined, WARNING]);
});

describe.each(TRANSPORTS)('over %s', (name, connect) => {
  it('a message to a user and to a topic', async () => {
    const service = await startService();
    const client = await connect(service, 'anna', { scope: 'send' });
    const isPlain = name !== 'Socket.IO';
    await service.api.post('/topics').send({ name: 'news' }).expect(201);
    await (isPlain ? client.call('subscribe', { topic_name: 'news' }) : client.call('topic:join', { name: 'news' }));
    for (const target of isPlain
      ? [{ topic_name: '@ben' }, { topic_name: '#news' }]
      : [{ to: 'ben' }, { topic: 'news' }]) {
      expect(await client.call('message', { ...target, ...mistyped })).toMatchObject({ ok: true, warnings: WARNING });
    }
    const right = isPlain ? { topic_name: '@ben', content: 'hi' } : { to: 'ben', type: 'x', data: 1 };
    expect(await client.call('message', right)).not.toHaveProperty('warnings');
  });
});

it('fields that resemble nothing are not reported, and names that are no words are not repeated', async () => {
  const service = await startService();
  const body = { userId: 'anna', type: 'x', data: 1, comment: 1, 'tt\nl': 1, [`ttl${'x'.repeat(40)}`]: 1, orderId: 1 };
  const { body: answer } = await service.api.post('/websocket/message/user').send(body).expect(200);
  expect(answer).not.toHaveProperty('warnings');
});

it('the log has each mistake once, without values', async () => {
  const { logger, lines } = captureLog();
  const service = await startService({ overrides: { logger } });
  const body = { userId: 'anna', type: 'x', data: 1, ttll: 'secret-value' };
  for (const _each of [1, 2]) await service.api.post('/websocket/message/user').send(body).expect(200);
  const told = lines.filter((line) => line.includes('ttll'));
  expect(told).toHaveLength(1);
  expect(lines.join()).not.toContain('secret-value');
});

it('a body of many fields has few warnings', async () => {
  const service = await startService();
  const many = Object.fromEntries(
    Array.from({ length: 26 * 26 }, (_value, n) => [`ttl${String.fromCharCode(97 + (n % 26))}`, n]),
  );
  const { body: answer } = await service.api
    .post('/websocket/message/user')
    .send({ userId: 'anna', type: 'x', data: 1, ...many });
  expect(answer.warnings).toHaveLength(8);
});
