/**
 * What arrives in one segment: each packet is judged by its own text, and what came before a close frame is carried
 * out.
 */

import { eventually } from './support/eventually';
import { connectPlain } from './support/plain-client';
import { openRawSocket, type RawSocket } from './support/raw-socket';
import { range, startService } from './support/service';

const ROUNDED = '{"to":"anna","type":"t","data":{"n":9007199254740993}}';
const EXACT = '{"to":"anna","type":"t","data":{"n":1}}';

async function open(): Promise<RawSocket> {
  const service = await startService();
  const raw = await openRawSocket(service.url);
  await raw.join(service.token('anna'));
  return raw;
}

async function repliesTo(raw: RawSocket, payloads: readonly string[]): Promise<(boolean | string | undefined)[]> {
  raw.send(...payloads.map((payload, id) => `42${id}["message",${payload}]`));
  const replies: (boolean | string | undefined)[] = [];
  for (const id of payloads.keys()) {
    const reply = JSON.parse((await raw.next(`43${id}[`)).slice(`43${id}[`.length, -1));
    replies.push(reply.ok || reply.error.errors?.[0]?.path);
  }
  return replies;
}

it.each([
  ['the first', [ROUNDED, EXACT], ['data.n', true]],
  ['the last', [EXACT, ROUNDED], [true, 'data.n']],
  ['one in the middle', [EXACT, ROUNDED, EXACT], [true, 'data.n', true]],
  ['each', [ROUNDED, ROUNDED], ['data.n', 'data.n']],
])('of packets over Socket.IO with a number that cannot be kept: %s', async (_name, payloads, expected) => {
  expect(await repliesTo(await open(), payloads)).toEqual(expected);
});

describe('what a client sends right before it closes', () => {
  const MESSAGES = 20;
  const storedIn = async (service: Awaited<ReturnType<typeof startService>>) => {
    const { body } = await service.anonymous
      .get('/inbox')
      .set({ Authorization: `Bearer ${service.token('ben')}` })
      .expect(200);
    return body.items.length as number;
  };

  it('is carried out over Socket.IO', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    await client.next('sync:done');
    for (const n of range(1, MESSAGES)) client.socket.emit('message', { to: 'ben', type: 't', data: n });
    client.socket.disconnect();
    await eventually(
      () => storedIn(service),
      (count) => count === MESSAGES,
    );
  });

  it('is carried out over plain WebSocket', async () => {
    const service = await startService();
    const client = await connectPlain(service.url, 'anna');
    await client.next('sync:done');
    for (const n of range(1, MESSAGES)) client.send({ action: 'message', topic_name: '@ben', type: 't', data: n });
    client.socket.close();
    await eventually(
      () => storedIn(service),
      (count) => count === MESSAGES,
    );
  });
});
