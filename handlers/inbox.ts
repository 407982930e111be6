/** The operations on the caller's inbox: list, count, change states. */
import { z } from 'zod';
import type { Incoming } from '../services/admission/incoming';
import type { Connection } from '../services/delivery/connections';
import type { Delivery } from '../services/delivery/delivery';
import type { InboxItem, Selection, StateChanged, Store } from '../services/storage/contract';
import type { Caller } from '../utils/caller';
import { AppError, badField, refuseField } from '../utils/errors';
import { readPageToken, writePageToken } from '../utils/page-token';
import { type Counts, type Message, type RequestedState, toListedMessage } from '../utils/protocol';
import {
  changeStatesSchema,
  inboxQuerySchema,
  messageIdSchema,
  oneStateSchema,
  parseField,
  parseInput,
} from '../utils/schemas';

export interface InboxParts {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly incoming: Pick<Incoming, 'assertMayChangeWhole'>;
}

export interface InboxAnswer {
  readonly items: readonly object[];
  /** `null`: nothing is left. A page may be short without being the last. */
  readonly nextCursor: string | null;
  readonly counts: Counts;
}

export interface StateAnswer {
  readonly success: true;
  readonly state: RequestedState;
  /** Messages that had another state before. */
  readonly changed: number;
  readonly counts: Counts;
}

export type InboxOperations = ReturnType<typeof createInboxOperations>;

const LIST = 'inbox';
const positionSchema = z.object({ order: z.number(), topic: z.string(), seq: z.int() });

export function createInboxOperations({ store, delivery, incoming }: InboxParts) {
  /** The caller's messages over all topics, newest first. */
  async function list({ userId }: Caller, query: unknown): Promise<InboxAnswer> {
    const { cursor, ...wanted } = parseInput(inboxQuerySchema, query);
    const after = cursor === undefined ? undefined : readPageToken(LIST, positionSchema, cursor);
    const [{ items, next }, counts] = await Promise.all([
      store.inbox.list(userId, { ...wanted, after }),
      store.inbox.counts(userId),
    ]);
    const nextCursor = next === undefined ? null : writePageToken(LIST, next);
    return { items: items.map(toListedItem), nextCursor, counts };
  }

  async function counts({ userId }: Caller): Promise<Counts> {
    return store.inbox.counts(userId);
  }

  /**
   * Changes the state of messages, and notifies all other connections of the caller.
   * @param connection the one that asked; absent over HTTP.
   * @throws AppError `rate_limited` when whole inboxes or topics are changed too often, `not_found` when something is
   * not in the caller's inbox: then nothing has changed.
   */
  async function change(caller: Caller, input: unknown, connection?: Connection): Promise<StateAnswer> {
    const { state, ids, topic, upTo } = parseInput(changeStatesSchema, input);
    if (ids === undefined) incoming.assertMayChangeWhole(caller);
    return apply({ caller, connection }, selectionOf({ ids, topic, upTo }), state);
  }

  /** The same for one message. */
  async function changeOne(caller: Caller, id: string, input: unknown): Promise<StateAnswer> {
    parseField('id', messageIdSchema, id);
    const { state } = parseInput(oneStateSchema, input);
    try {
      return await apply({ caller, connection: undefined }, { ids: [id] }, state);
    } catch (error) {
      // The caller named one message, not a list.
      throw error instanceof AppError && error.code === 'not_found' ? notInInbox('id') : error;
    }
  }

  async function apply(
    { caller, connection }: { caller: Caller; connection: Connection | undefined },
    selection: Selection,
    state: RequestedState,
  ): Promise<StateAnswer> {
    const { userId } = caller;
    const outcome = await changeStates({ store, delivery }, { userId, selection, state });
    if (outcome.outcome === 'not_found') throw notInInbox(outcome.path);
    if (outcome.outcome === 'ahead')
      throw badField('upTo', `is greater than the last seq of the topic (${outcome.head})`);
    const counts = await notifyOthers(delivery, { userId, entries: outcome.entries, connection });
    return { success: true, state, changed: outcome.changed, counts };
  }

  return { list, counts, change, changeOne };
}

/** Notifies all connections of a change, except the one that asked. @returns the counts to answer it with. */
async function notifyOthers(
  delivery: InboxParts['delivery'],
  { userId, entries, connection }: { userId: string; entries: readonly Message[]; connection: Connection | undefined },
): Promise<Counts> {
  const [counted] = await Promise.allSettled([delivery.counts(userId)]);
  // A connection that gets no answer is notified like all others.
  await delivery.emitAppended(entries, counted.status === 'fulfilled' ? connection : undefined);
  if (counted.status === 'rejected') throw counted.reason;
  // Emitting may wait for the store: no answer is older than frames that were written meanwhile.
  return delivery.countsSince(userId, counted.value);
}

/** Of a change that fails halfway there may be no entry. */
async function changeStates(
  { store, delivery }: Pick<InboxParts, 'store' | 'delivery'>,
  { userId, selection, state }: { userId: string; selection: Selection; state: RequestedState },
): Promise<StateChanged> {
  try {
    return await store.inbox.changeStates(userId, selection, state);
  } catch (error) {
    delivery.recount(userId);
    throw error;
  }
}

/** Does a change of states name no messages, so that a whole inbox or topic is examined? */
export function changesWhole(payload: unknown): boolean {
  return typeof payload === 'object' && payload !== null && !Object.hasOwn(payload, 'ids');
}

function selectionOf(given: {
  ids: readonly string[] | undefined;
  topic: string | undefined;
  upTo: number | undefined;
}): Selection {
  if (given.ids !== undefined) return { ids: given.ids };
  return given.topic === undefined ? { all: true } : { topic: given.topic, upTo: given.upTo };
}

/** An item of a list: the message and its state. */
export function toListedItem({ message, state }: InboxItem): object {
  return { ...toListedMessage(message), state };
}

function notInInbox(path: string): AppError {
  return refuseField('not_found', path, 'is not in your inbox');
}
