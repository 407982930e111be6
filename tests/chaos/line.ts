/** One connection of a client, over any transport. It does not reconnect by itself: see device.ts. */
import { io, type Socket } from 'socket.io-client';
import WebSocket from 'ws';
import type { Message } from '../../utils/protocol';
import type { Place } from './history';

export const WAYS = ['websocket', 'polling', 'plain'] as const;

/** Socket.IO over either of its transports, or the plain endpoint. */
export type Way = (typeof WAYS)[number];

/** What a client names when it connects. */
export interface Credentials {
  readonly token: string;
  readonly device: string | undefined;
}

export interface LineEvents {
  connected(): void;
  message(message: Message): void;
  synced(): void;
  /** Anything else that the service sends. */
  told(event: string, payload: unknown): void;
  /** It has ended, or failed to open. Once. */
  ended(): void;
}

export interface Line {
  ack(place: Pick<Place, 'topic' | 'seq'>): void;
  close(): void;
}

export function openLine(way: Way, url: string, credentials: Credentials, on: LineEvents): Line {
  return way === 'plain' ? openPlainLine(url, credentials, on) : openSocketLine(way, url, credentials, on);
}

function openSocketLine(way: 'websocket' | 'polling', url: string, auth: Credentials, on: LineEvents): Line {
  const socket: Socket = io(url, { transports: [way], reconnection: false, forceNew: true, auth });
  socket.onAny((event: string, payload: unknown) => take(event, payload, on));
  socket.once('connect_error', () => on.ended());
  socket.once('disconnect', () => on.ended());
  return {
    ack: ({ topic, seq }) => socket.emit('ack', { topic, seq }),
    close: () => socket.close(),
  };
}

function openPlainLine(url: string, { token, device }: Credentials, on: LineEvents): Line {
  const path = device === undefined ? '/ws' : `/ws?device=${encodeURIComponent(device)}`;
  const headers = { Authorization: `Bearer ${token}` };
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}${path}`, { headers, perMessageDeflate: false });
  socket.on('message', (data: Buffer) => {
    // What arrives while it closes is no longer read, as with Socket.IO.
    if (socket.readyState !== socket.OPEN) return;
    const { event, ...payload } = JSON.parse(data.toString('utf8')) as { event: string };
    take(event, payload, on);
  });
  // Refused, reset or cut: `close` follows.
  socket.on('error', () => undefined);
  socket.once('close', () => on.ended());
  return {
    ack: ({ topic, seq }) => {
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ action: 'ack', topic, seq }));
    },
    close: () => socket.terminate(),
  };
}

function take(event: string, payload: unknown, on: LineEvents): void {
  if (event === 'connected') on.connected();
  else if (event === 'message') on.message(payload as Message);
  else if (event === 'sync:done') on.synced();
  else on.told(event, payload);
}
