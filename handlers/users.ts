/** The operations on all that is kept of one user: erase, export. */
import type { Cursors } from '../services/cursors';
import type { Sessions } from '../services/sessions';
import type { Erased, InboxPosition, Scheduled, ScheduledPosition, Store } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { parseField, userIdSchema } from '../utils/schemas';
import { toListedItem } from './inbox';
import { toScheduledAnswer } from './schedule';

export interface UserDataParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly sessions: Sessions;
  readonly clock: Clock;
}

export interface ErasedAnswer {
  readonly success: true;
  readonly userId: string;
  readonly erased: Erased;
}

export type UserDataOperations = ReturnType<typeof createUserDataOperations>;

const PAGE_SIZE = 200;

export function createUserDataOperations({ store, cursors, sessions, clock }: UserDataParts) {
  /** Erases a user. Open connections are closed and may come back, as those of somebody new. */
  async function erase(userId: string): Promise<ErasedAnswer> {
    parseField('userId', userIdSchema, userId);
    const erased = await sessions.renew(userId, async () => {
      // What is still to be written of the user must not come back after the erasure.
      await cursors.flush();
      return store.erase(userId);
    });
    return { success: true, userId, erased };
  }

  /** All that is kept of a user, a record at a time: the user, messages with states, memberships, devices, scheduled. */
  async function* exportAll(userId: string): AsyncGenerator<object> {
    parseField('userId', userIdSchema, userId);
    await cursors.flush();
    const user = await store.user(userId);
    const lastSeen = await cursors.lastSeen(userId);
    yield {
      kind: 'user',
      userId,
      isKnown: user !== undefined,
      lastSeen: lastSeen === undefined ? null : toIsoTime(lastSeen),
      exportedAt: toIsoTime(clock.now()),
    };
    yield* exportMessages(userId);
    for (const membership of await store.memberships(userId)) yield { kind: 'membership', ...membership };
    for (const { device, cursors: seqs } of await store.devices(userId)) {
      yield { kind: 'device', device, cursors: Array.from(seqs, ([topic, seq]) => ({ topic, seq })) };
    }
    yield* exportScheduled(userId);
  }

  async function* exportMessages(userId: string): AsyncGenerator<object> {
    let after: InboxPosition | undefined;
    do {
      const { items, next } = await store.inbox(userId, { state: 'any', limit: PAGE_SIZE, after });
      for (const item of items) yield { kind: 'message', ...toListedItem(item) };
      after = next;
    } while (after !== undefined);
  }

  async function* exportScheduled(userId: string): AsyncGenerator<object> {
    let after: ScheduledPosition | undefined;
    let page: readonly Scheduled[];
    do {
      page = await store.scheduled({ from: userId, limit: PAGE_SIZE, after });
      for (const scheduled of page) yield { kind: 'scheduled', ...toScheduledAnswer(scheduled) };
      const last = page.at(-1);
      if (last !== undefined) after = { sendAt: last.sendAt, id: last.draft.id, from: last.draft.from };
    } while (page.length === PAGE_SIZE);
  }

  return { erase, exportAll };
}
