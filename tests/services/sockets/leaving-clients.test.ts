/** A client that announces its close: what comes between that and the end of its connection is for its next one. */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { eventually } from '../../support/eventually';
import { startService } from '../../support/service';
import { onTestEnd } from '../../support/temporary';

interface Half {
  readonly socket: WebSocket;
  readonly frames: string[];
}

/** One without a device name, over either transport; resolves when it is up to date. */
async function open(url: string, token: string, isPlain: boolean): Promise<Half> {
  const path = isPlain ? `/ws?token=${token}` : '/socket.io/?EIO=4&transport=websocket';
  const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, { perMessageDeflate: false });
  onTestEnd(() => socket.terminate());
  const frames: string[] = [];
  const done = new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      const text = data.toString();
      frames.push(text);
      if (text.startsWith('0')) socket.send(`40${JSON.stringify({ token })}`);
      if (text.includes('sync:done')) resolve();
    });
  });
  await done;
  return { socket, frames };
}

/** Resolves when the service has answered the close frame. The end of the connection, which the client owes, does not come. */
async function sayGoodbye(socket: WebSocket): Promise<void> {
  const { _socket: tcp } = socket as unknown as { _socket: Socket };
  tcp.removeAllListeners('data');
  const answered = new Promise<void>((resolve) => {
    tcp.once('data', () => {
      tcp.pause();
      resolve();
    });
  });
  socket.close();
  await answered;
}

it.each([
  ['plain', true],
  ['Socket.IO', false],
])(
  '%s: what is sent while a client without a device name leaves comes on its next connection',
  async (_name, isPlain) => {
    const service = await startService();
    const token = service.token('anna');
    const leaving = await open(service.url, token, isPlain);
    await sayGoodbye(leaving.socket);
    await service.send('anna', [1]);
    await service.api.post('/websocket/message/broadcast').send({ type: 'chat', data: { n: 2 } });
    leaving.socket.terminate();
    await eventually(
      async () => service.balance()['connections'],
      (count) => count === 0,
    );
    const back = await open(service.url, token, isPlain);
    expect(back.frames.filter((frame) => frame.includes('"data":{"n":'))).toHaveLength(2);
  },
);
