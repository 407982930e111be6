/** What both socket endpoints share: operations with their prices, and how they are called. */
import { changesWhole, type InboxOperations } from '../handlers/inbox';
import type { MessageOperations } from '../handlers/messages';
import type { OwnConnectionOperations } from '../handlers/own-connection';
import type { PresenceOperations } from '../handlers/presence';
import type { TopicOperations } from '../handlers/topics';
import type { ReadTurns } from '../services/admission/read-turns';
import type { Connection } from '../services/delivery/connections';
import { AppError } from '../utils/errors';
import type { EchoOperations } from './compatibility/echo';

export interface SocketOperations {
  readonly messages: MessageOperations;
  readonly topics: TopicOperations;
  readonly presence: PresenceOperations;
  readonly inbox: InboxOperations;
  readonly own: OwnConnectionOperations;
  readonly echoes: EchoOperations;
  readonly reads: Pick<ReadTurns, 'run'>;
}

export type Operation<Payload> = (connection: Connection, payload: Payload) => object | Promise<object>;

/** What a client may request, and its price. */
export interface ClientEvent<Payload> {
  /**
   * How many events it counts as against SOCKET_EVENTS_PER_SECOND; 0 is free of charge while it is accepted. Expensive
   * reads cost more than one.
   */
  readonly price: number | ((payload: unknown) => number);
  readonly run: Operation<Payload>;
}

export const FREE = 0;
export const ONE = 1;
export const HISTORY = 4;
/** A list of all topics, of online users, or a change of states that examines an inbox or a topic. */
export const WHOLE = 10;

/** An expensive read: those of a user take turns. */
export function readInTurn<Payload>(reads: SocketOperations['reads'], read: Operation<Payload>): Operation<Payload> {
  return (connection, payload) => reads.run(connection, () => read(connection, payload));
}

/**
 * A change of a whole inbox or topic reads all of it, and takes a turn; one that names messages does not. Unlike a
 * read, it is carried out even if its client has left meanwhile.
 */
export function changeStates({ inbox, reads }: Pick<SocketOperations, 'inbox' | 'reads'>): Operation<unknown> {
  const change: Operation<unknown> = (connection, payload) => inbox.change(connection.caller, payload, connection);
  const inTurn: Operation<unknown> = (connection, payload) =>
    reads.run({ userId: connection.userId, isOpen: true }, () => change(connection, payload));
  return (connection, payload) => (changesWhole(payload) ? inTurn : change)(connection, payload);
}

export function priceOfChange(payload: unknown): number {
  return changesWhole(payload) ? WHOLE : ONE;
}

/** A table in use. `dispatch` throws AppError `unknown_event` for anything else, which counts as one event. */
export function byTable<Payload>(table: ReadonlyMap<unknown, ClientEvent<Payload>>) {
  return {
    priceOf(name: unknown, payload: unknown): number {
      const { price } = table.get(name) ?? { price: ONE };
      return typeof price === 'number' ? price : price(payload);
    },
    dispatch(connection: Connection, name: string, payload: Payload): object | Promise<object> {
      const event = table.get(name);
      if (event === undefined)
        throw new AppError('unknown_event', 'Clients cannot send an event or action with this name.');
      return event.run(connection, payload);
    },
  };
}
