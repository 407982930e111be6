/** Handshakes that fail: each must leave nothing behind. */
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

function open(port: number): Socket {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.on('error', () => undefined);
  return socket;
}

function upgrade(path: string, headers: readonly string[]): string {
  const lines = [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', ...headers];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

const ENGINE_PATH = '/socket.io/?EIO=4&transport=websocket';

/** An upgrade that ws refuses. Resolves when the service has closed the connection. */
export function withoutKey(port: number, isEngine: boolean): Promise<void> {
  const socket = open(port);
  socket.write(upgrade(isEngine ? ENGINE_PATH : '/ws', ['Sec-WebSocket-Version: 13']));
  socket.resume();
  return ended(socket);
}

export interface Leaving {
  readonly isEngine: boolean;
  /** Leaves by a reset, this many turns of the loop after the request. */
  readonly turns: number;
}

export async function resetAfter(port: number, { isEngine, turns }: Leaving): Promise<void> {
  const socket = await connected(port);
  ask(socket, isEngine);
  await reset(socket, turns);
}

/** The same for several that ask in one turn. */
export async function resetTogether(port: number, leaving: readonly Leaving[]): Promise<void> {
  const sockets = await Promise.all(leaving.map(() => connected(port)));
  // The service takes one connection in a turn.
  for (let turn = 0; turn < 2 * sockets.length; turn += 1) await nextTurn();
  const resets = sockets.map((socket, index) => {
    const { isEngine, turns } = leaving[index] as Leaving;
    ask(socket, isEngine);
    return reset(socket, turns);
  });
  await Promise.all(resets);
}

async function connected(port: number): Promise<Socket> {
  const socket = open(port);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

function ask(socket: Socket, isEngine: boolean): void {
  socket.write(upgrade(isEngine ? ENGINE_PATH : '/ws', ['Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${KEY}`]));
}

async function reset(socket: Socket, turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await nextTurn();
  const end = ended(socket);
  socket.resetAndDestroy();
  await end;
}

function ended(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
