/** What the service says in one read takes effect in the order in which it says it, answers included. */
import type { Socket } from 'socket.io';
import { memoryStorage, type TidingsClient } from '../../client/src';
import { testToken } from '../support/service';
import { letIn, openClient, startFakeService, until } from './support';

type Answer = (reply: object) => void;

const MESSAGE = { topic: '@anna', type: 'chat', data: 1, timestamp: '2026-01-01T00:00:00Z', from: 'ben' };
const BEFORE = { unseen: 0, unread: 0 };
const AFTER = { unseen: 2, unread: 2 };

/** Answers a mark, and sends two newer messages in the same turn: the client reads all three at once. */
function answerAndSend(socket: Socket, answer: Answer): void {
  answer({ ok: true, counts: BEFORE });
  for (const n of [1, 2]) socket.emit('message', { ...MESSAGE, id: `m${n}`, seq: n, counts: { unseen: n, unread: n } });
}

function open(url: string, options: object = {}) {
  const client = openClient(url, { token: testToken('anna'), ...options });
  const received: string[] = [];
  client.on('message', ({ id }) => received.push(id));
  const bothReceived = () =>
    until(
      () => received.length,
      (count) => count === 2,
    );
  return { client, bothReceived };
}

const MARKS: [string, (inbox: TidingsClient['inbox']) => Promise<object>][] = [
  ['markSeen', (inbox) => inbox.markSeen('m')],
  ['markRead', (inbox) => inbox.markRead(['m'])],
  ['markUnread', (inbox) => inbox.markUnread('m')],
  ['archive', (inbox) => inbox.archive({ topic: '@anna', upTo: 1 })],
  ['markRead, for all', (inbox) => inbox.markRead('all')],
];

it.each(MARKS)('the counts of messages replace those of an answer before them: %s', async (_name, mark) => {
  const { url } = await startFakeService((socket) => {
    letIn(socket);
    socket.on('state', (_payload: object, answer: Answer) => answerAndSend(socket, answer));
  });
  const { client, bothReceived } = open(url);
  expect(await mark(client.inbox)).toEqual(BEFORE);
  await bothReceived();
  expect(client.inbox.counts).toEqual(AFTER);
});

it('the counts of messages replace those of an answer before them: a mark that was kept', async () => {
  const storage = memoryStorage();
  let marks = 0;
  const { url } = await startFakeService((socket, connection) => {
    letIn(socket);
    socket.on('state', (_payload: object, answer: Answer) => {
      marks += 1;
      if (connection > 1) answerAndSend(socket, answer);
    });
  });
  const first = open(url, { storage });
  const lost = expect(first.client.inbox.markRead('m')).rejects.toMatchObject({ code: 'closed' });
  await until(
    () => marks,
    (count) => count === 1,
  );
  await first.client.close();
  await lost;
  const { client, bothReceived } = open(url, { storage });
  await bothReceived();
  expect([marks, client.inbox.counts]).toEqual([2, AFTER]);
});

it('the counts of an answer are there when the call resolves', async () => {
  const { url } = await startFakeService((socket) => {
    letIn(socket);
    socket.on('state', (_payload: object, answer: Answer) => answer({ ok: true, counts: AFTER }));
  });
  const { client } = open(url);
  await client.inbox.markRead('m');
  expect(client.inbox.counts).toEqual(AFTER);
});

it('a token that is revoked as soon as it was taken is not used again', async () => {
  const [old, revoked, next] = [100, 200, 300].map((lifetimeSeconds) => testToken('anna', { lifetimeSeconds }));
  const used: unknown[] = [];
  const { url } = await startFakeService((socket) => {
    used.push(socket.handshake.auth.token);
    letIn(socket);
    socket.on('auth:refresh', (_payload: object, answer: Answer) => {
      answer({ ok: true });
      socket.emit('closing', { code: 'revoked', reason: 'x', retryInMs: null });
    });
  });
  const tokens = [old, next];
  const { client } = open(url, { token: () => tokens.shift() ?? '' });
  await client.synced();
  await client.useToken(revoked ?? '');
  await until(
    () => used.length,
    (connections) => connections === 2,
  );
  expect(used).toEqual([old, next]);
});
