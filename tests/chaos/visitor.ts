/** A client over any transport that does what a scenario tells it, and no more: it does not even reconnect. */
import { openClient } from '../support/client';
import { openPlain } from '../support/plain-client';
import { testToken } from '../support/service';
import type { AnyClient } from '../support/transports';
import type { Place } from './history';
import type { Way } from './line';
import type { ChaosNode } from './node';
import { pace, until } from './until';

const PATIENCE_MS = 10_000;

export interface Visitor {
  readonly way: Way;
  readonly userId: string;
  readonly client: AnyClient;
  /** Resolves to the moment at which this side has learned that the connection has ended. */
  readonly ended: Promise<number>;
  isOpen(): boolean;
}

export interface Visit {
  readonly userId: string;
  readonly device?: string;
  /** An hour for this user by default. */
  readonly token?: string;
}

/** Connects, and resolves when the node has greeted. */
export async function visit(way: Way, url: string, { userId, device, token }: Visit): Promise<Visitor> {
  const open = way === 'plain' ? openPlainVisit : openSocketVisit;
  const visitor = open(way, url, {
    userId,
    token: token ?? testToken(userId),
    ...(device === undefined ? {} : { device }),
  });
  await visitor.client.next('connected');
  return visitor;
}

function openSocketVisit(way: Way, url: string, { userId, device, token }: Visit): Visitor {
  const client = openClient(url, { transports: [way], auth: { token, device } });
  const ended = new Promise<number>((resolve) => {
    client.socket.once('disconnect', () => resolve(performance.now()));
  });
  return { way, userId, client, ended, isOpen: () => client.socket.connected };
}

function openPlainVisit(way: Way, url: string, { userId, device, token }: Visit): Visitor {
  const path = device === undefined ? '/ws' : `/ws?device=${encodeURIComponent(device)}`;
  const client = openPlain(url, { path, headers: { Authorization: `Bearer ${token}` } });
  const ended = client.closed.then(() => performance.now());
  return { way, userId, client, ended, isOpen: () => !client.isClosed };
}

/** When a connection ended; infinite if it has not after a while. */
export function endOf({ ended }: Visitor): Promise<number> {
  return Promise.race([ended, pace(PATIENCE_MS).then(() => Number.POSITIVE_INFINITY)]);
}

/** The messages that a visitor has received so far as `message`, as `seq id`. */
export function placesOf({ client }: Visitor): string[] {
  return client.allMessages.map(({ seq, id }) => `${seq} ${id}`);
}

/** Resolves when a visitor has received this many messages. */
export async function hasGot(visitor: Visitor, count: number): Promise<void> {
  const what = `${visitor.userId} over ${visitor.way} has ${count} messages`;
  await until(
    what,
    PATIENCE_MS,
    async () => visitor.client.allMessages.length,
    (length) => length >= count,
  );
}

/** The same of what was sent. */
export function written(places: readonly Pick<Place, 'seq' | 'id'>[]): string[] {
  return places.map(({ seq, id }) => `${seq} ${id}`);
}

/** Connects and waits until everything expected has arrived. */
export async function comeBack({ url }: ChaosNode, way: Way, userId: string, device = 'phone'): Promise<Visitor> {
  const visitor = await visit(way, url, { userId, device });
  await visitor.client.next('sync:done');
  return visitor;
}
