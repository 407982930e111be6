import type { RunningServer } from './servers';
import { createUserToken } from './tokens';
import { type Delivery, openWire } from './wire';

/** Connections that are opened at the same time. */
const OPENING_AT_ONCE = 32;

/** A connected client that only listens. */
export interface Receiver {
  close(): void;
}

/** Where clients connect: a server, and the protocol that its clients speak. */
export type Server = Pick<RunningServer, 'port' | 'kind'>;

/**
 * Connects a user and resolves when the socket misses nothing any more.
 * @throws Error when the server refuses or closes.
 */
export function connectReceiver(
  server: Server,
  userId: string,
  onDelivery: (delivery: Delivery) => void,
): Promise<Receiver> {
  return new Promise((resolve, reject) => {
    const wire = openWire(
      server,
      { userId, token: createUserToken(userId) },
      {
        onDelivery,
        onReady: () => resolve({ close: () => wire.terminate() }),
        onEnd: (reason) => reject(new Error(`the connection has ended: ${reason}`)),
      },
    );
  });
}

/** Connects many users, each with one socket; the callback also receives the user's index in the list. */
export async function connectReceivers(
  server: Server,
  userIds: readonly string[],
  onDelivery: (index: number, delivery: Delivery) => void,
): Promise<Receiver[]> {
  const receivers: Receiver[] = [];
  await inTurns(userIds, async (userId, index) => {
    receivers.push(await connectReceiver(server, userId, (delivery) => onDelivery(index, delivery)));
  });
  return receivers;
}

/** Opens something for each item of a list, a few at the same time. */
export async function inTurns<Item>(
  items: readonly Item[],
  open: (item: Item, index: number) => Promise<void>,
): Promise<void> {
  const left = items.entries();
  const openRest = async () => {
    for (const [index, item] of left) await open(item, index);
  };
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openRest));
}
