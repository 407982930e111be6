/** Packets that come in one segment are judged each by its own text. */
import { openRawSocket, type RawSocket } from './support/raw-socket';
import { startService } from './support/service';

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
