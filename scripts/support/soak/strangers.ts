/**
 * Users who are not counted: new ones, refused ones, and clients that begin something and stop. What is kept about them
 * must not grow with their number.
 */
import { get } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { SoakClient } from './client';
import { expiredToken, foreignToken, freshToken } from './tokens';

/** Longer than the service waits for a client that begins and stops. */
const PATIENCE_MS = 30_000;

/** What a stranger does; resolves when it has ended. */
type Visit = (origin: string, name: string) => Promise<void>;

/** Starts a stranger. Nobody waits for one who is silent. */
export async function comeAndGo(visit: Visit, origin: string, name: string): Promise<void> {
  const patience = new AbortController();
  const { signal } = patience;
  await Promise.race([visit(origin, name), delay(PATIENCE_MS, undefined, { signal, ref: false })]);
  patience.abort();
}

/** Comes once, under a new name, over HTTP first as Socket.IO clients do. */
const passBy: Visit = (origin, name) =>
  new Promise((resolve) => {
    const socket = io(origin, { auth: { token: freshToken(name) }, reconnection: false, forceNew: true });
    const end = () => {
      socket.close();
      resolve();
    };
    socket.once('sync:done', end);
    socket.once('connect_error', end);
  });

/** Comes once with a new device, and leaves by breaking the connection. */
const passByPlain: Visit = async (origin, name) => {
  const client = new SoakClient({ origin, wire: 'plain', userId: name, device: `device-of-${name}` });
  await client.connect();
  client.leave('reset');
};

/** Long polling only, and gone silently: nobody polls any more. */
const pollAndVanish: Visit = (origin) => ask(`${origin}/socket.io/?EIO=4&transport=polling`);

const refusedSocket: Visit = (origin, name) =>
  new Promise((resolve) => {
    const token = name.length % 2 === 0 ? foreignToken(name) : expiredToken(name);
    const socket = io(origin, { auth: { token }, reconnection: false, forceNew: true });
    socket.once('connect_error', () => {
      socket.close();
      resolve();
    });
  });

const refusedPlain: Visit = (origin, name) => untilClosed(`${origin}/ws?token=${foreignToken(name)}`);

/** A WebSocket that never authenticates: the service closes it. */
const silentPlain: Visit = (origin) => untilClosed(`${origin}/ws`);
const silentSocket: Visit = (origin) => untilClosed(`${origin}/socket.io/?EIO=4&transport=websocket`);

const unknownUpgrade: Visit = (origin) => untilClosed(`${origin}/nowhere/at/all`);

/** Bytes that are no HTTP at all. */
const nonsense: Visit = (origin) =>
  new Promise((resolve) => {
    const { hostname, port } = new URL(origin);
    const socket = connect(Number(port), hostname, () => socket.write('NONSENSE\r\n\r\n'));
    socket.on('error', () => socket.destroy());
    socket.on('data', () => undefined);
    socket.once('close', () => resolve());
  });

export const VISITS: readonly Visit[] = [
  passBy,
  passByPlain,
  pollAndVanish,
  refusedSocket,
  refusedPlain,
  silentPlain,
  silentSocket,
  unknownUpgrade,
  nonsense,
];

function untilClosed(url: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url.replace('http', 'ws'), { perMessageDeflate: false });
    // Refused ones receive the reason; `close` comes after it.
    socket.on('error', () => undefined);
    socket.once('close', () => resolve());
  });
}

function ask(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      response.resume();
      response.once('close', resolve);
    }).once('error', reject);
  });
}
