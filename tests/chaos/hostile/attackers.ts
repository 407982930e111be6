/**
 * Clients with valid tokens, but no scope, that do whatever they are allowed as badly as they can. Each continues until
 * it is told to stop, whatever the service does to it, and counts its attempts.
 */
import { connect, type Socket as TcpSocket } from 'node:net';
import { io, type Socket } from 'socket.io-client';
import WebSocket from 'ws';
import { testToken } from '../../support/service';
import { request } from '../http';
import { pace } from '../until';

export interface Attack {
  readonly url: string;
  readonly signal: AbortSignal;
  /** Resolves on the signal: one promise for all who wait. */
  readonly over: Promise<void>;
  /** The user whose inbox is full of large messages. */
  readonly glutton: string;
}

/** @returns how often it was tried. */
type Attacker = (attack: Attack) => Promise<number>;

const UNREAD_CONNECTIONS = 50;
const PIPELINED = 3;
const HISTORY_PACE_MS = 50;
const DEVICE_PACE_MS = 100;
const RESET_PACE_MS = 20;
const MAX_DEVICES = 2_000;
const CONNECT_PATIENCE_MS = 5_000;

/** Requests the largest possible answers and reads none of them. */
const leaveAnswersUnread: Attacker = async ({ url, signal, over, glutton }) => {
  const token = testToken(glutton);
  let count = 0;
  const ask = `GET /inbox?limit=200 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`;
  await whileOn(signal, UNREAD_CONNECTIONS, async () => {
    const socket = openTcp(url);
    socket.pause();
    socket.write(ask.repeat(PIPELINED));
    count += PIPELINED;
    await Promise.race([closeOf(socket), over]);
    socket.destroy();
    await pace();
  });
  return count;
};

/** Requests the history of a topic with large messages twenty times a second, and reads none of it. */
const askWithoutReading: Attacker = async ({ url, signal, over, glutton }) => {
  let count = 0;
  await whileOn(signal, 4, async () => {
    const socket = await connected(url, glutton, over);
    tcpOf(socket)?.pause();
    while (socket.connected && !signal.aborted) {
      socket.emit('history', { topic: `@${glutton}`, limit: 200 }, () => undefined);
      count += 1;
      await pace(HISTORY_PACE_MS);
    }
    socket.disconnect();
    tcpOf(socket)?.destroy();
    await pace();
  });
  return count;
};

/** Makes expensive requests as often as it may. */
const askForWhatIsDear: Attacker = async ({ url, signal }) => {
  const token = testToken('greedy');
  let count = 0;
  await whileOn(signal, 20, async () => {
    const paths = ['/inbox?limit=200', '/topics?limit=200', '/users/greedy/export', '/inbox/counts'];
    await request(`${url}${paths[count % paths.length]}`, { token, timeoutMs: 10_000 });
    count += 1;
    await pace();
  });
  return count;
};

/** Connects as another device each time. */
const inventDevices: Attacker = async ({ url, signal, over }) => {
  let count = 0;
  await whileOn(signal, 5, async () => {
    count += 1;
    if (count > MAX_DEVICES) return pace(1_000);
    const socket = openWebSocket(`${url}/ws?device=made-up-${count}&token=${testToken('many')}`);
    await Promise.race([once(socket, 'message'), once(socket, 'close'), over]);
    socket.terminate();
    await pace(DEVICE_PACE_MS);
  });
  return count;
};

/** Resets connections in the middle of their handshakes, valid and invalid ones. */
const resetHandshakes: Attacker = async ({ url, signal }) => {
  const token = testToken('storm');
  const upgrade = (path: string, more: string) =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`;
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
  const heads = [
    upgrade(`/ws?token=${token}`, key),
    upgrade(`/ws?token=${token}`, ''),
    upgrade('/socket.io/?EIO=4&transport=websocket', key),
    upgrade('/./socket.io/?EIO=4&transport=websocket', key),
    'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n',
  ];
  let count = 0;
  await whileOn(signal, 4, async () => {
    const socket = openTcp(url);
    socket.write(heads[count % heads.length] ?? '');
    count += 1;
    await pace(RESET_PACE_MS);
    socket.resetAndDestroy();
  });
  return count;
};

/** Sends under one collapse key to itself and lists what is left. */
const pileUpHoles: Attacker = async ({ url, signal, over }) => {
  let count = 0;
  await whileOn(signal, 2, async () => {
    const socket = await connected(url, 'holes', over);
    while (socket.connected && !signal.aborted) {
      socket.emit('message', { to: 'holes', type: 'chat', data: count, collapseKey: 'one' }, () => undefined);
      if (count % 20 === 0) socket.emit('history', { topic: '@holes', limit: 10 }, () => undefined);
      count += 1;
      await pace(25);
    }
    socket.disconnect();
    await pace();
  });
  return count;
};

export const ATTACKERS: Readonly<Record<string, Attacker>> = {
  'answers left unread': leaveAnswersUnread,
  'histories left unread': askWithoutReading,
  'dear reads': askForWhatIsDear,
  'made-up devices': inventDevices,
  'reset handshakes': resetHandshakes,
  'replaced messages': pileUpHoles,
};

/** Does something this many times in parallel, repeatedly, until the end. */
async function whileOn(signal: AbortSignal, sideBySide: number, work: () => Promise<void>): Promise<void> {
  const loop = async () => {
    while (!signal.aborted) await work();
  };
  await Promise.all(Array.from({ length: sideBySide }, loop));
}

/** Or not, if it was refused or takes too long: then nothing comes of it. */
async function connected(url: string, userId: string, over: Promise<void>): Promise<Socket> {
  const auth = { token: testToken(userId) };
  const socket = io(url, { transports: ['websocket'], forceNew: true, reconnection: false, auth });
  await Promise.race([new Promise((resolve) => socket.once('connected', resolve)), pace(CONNECT_PATIENCE_MS), over]);
  return socket;
}

function openTcp(url: string): TcpSocket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  // Whatever happens to it, another one follows.
  socket.on('error', () => undefined);
  return socket;
}

function openWebSocket(url: string): WebSocket {
  const socket = new WebSocket(url.replace(/^http/, 'ws'));
  socket.on('error', () => undefined);
  return socket;
}

function tcpOf(socket: Socket): TcpSocket | undefined {
  const { transport } = socket.io.engine as unknown as {
    transport?: { ws?: { _socket?: TcpSocket } };
  };
  return transport?.ws?._socket;
}

function closeOf(socket: TcpSocket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

function once(socket: WebSocket, event: 'message' | 'close'): Promise<void> {
  return new Promise((resolve) => socket.once(event, () => resolve()));
}
