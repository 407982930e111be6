/** Handshakes that come to nothing: each must leave the doors as they were. */
import { connect, type Socket } from 'node:net';

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

/** Goes away, by a reset, so many turns of the loop after it has asked. */
export async function resetAfter(port: number, options: { isEngine: boolean; turns: number }): Promise<void> {
  const socket = open(port);
  await new Promise((resolve) => socket.once('connect', resolve));
  const path = options.isEngine ? ENGINE_PATH : '/ws';
  socket.write(upgrade(path, ['Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${KEY}`]));
  for (let turn = 0; turn < options.turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  const end = ended(socket);
  socket.resetAndDestroy();
  await end;
}

function ended(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
