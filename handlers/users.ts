/** The operations on all that is kept of one user: erase, export. */
import type { Audit, Requester } from '../services/audit';
import type { Cursors } from '../services/delivery/cursors';
import type { Sessions } from '../services/sockets/sessions';
import type { Erased, InboxPosition, Scheduled, ScheduledPosition, Store } from '../services/storage/contract';
import type { AuditOutcome } from '../utils/audit';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError } from '../utils/errors';
import { parseField, userIdSchema } from '../utils/schemas';
import { personalTopic } from '../utils/topic-names';
import { toListedItem } from './inbox';
import type { IsRevoked } from './rights';
import { toScheduledAnswer } from './schedule';

export interface UserDataParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly audit: Pick<Audit, 'carryOut' | 'begin' | 'end'>;
  readonly isRevoked: IsRevoked;
}

export interface ErasedAnswer {
  readonly success: true;
  readonly userId: string;
  readonly erased: Erased;
}

export type UserDataOperations = ReturnType<typeof createUserDataOperations>;

const PAGE_SIZE = 200;
/** Each has a cursor in every topic of the user. */
const DEVICES_PER_PAGE = 1;

export function createUserDataOperations({ store, cursors, sessions, clock, audit, isRevoked }: UserDataParts) {
  /** Erases a user. Open connections are closed and may come back, as those of somebody new. */
  async function erase(requester: Requester, userId: string): Promise<ErasedAnswer> {
    parseField('userId', userIdSchema, userId);
    const act = { action: 'erase', target: personalTopic(userId) } as const;
    const erased = await audit.carryOut(
      requester,
      act,
      () => eraseNow(userId),
      ({ messages }) => messages,
    );
    return { success: true, userId, erased };
  }

  function eraseNow(userId: string): Promise<Erased> {
    return sessions.renew(userId, async () => {
      // What is still to be written of the user must not come back after the erasure.
      await cursors.flush();
      return store.erase(userId);
    });
  }

  /** The data of a user as records. Of somebody else it is recorded, also when the reader leaves before the end. */
  async function* exportFor(requester: Requester, userId: string): AsyncGenerator<object> {
    parseField('userId', userIdSchema, userId);
    if (requester.userId === userId) return yield* whileAllowed(requester, exportAll(userId));
    const entry = await audit.begin(requester, { action: 'export', target: personalTopic(userId) });
    let outcome: AuditOutcome = 'failed';
    let count = 0;
    try {
      for await (const record of whileAllowed(requester, exportAll(userId))) {
        count += 1;
        yield record;
      }
      outcome = 'done';
    } finally {
      await audit.end(entry, outcome, count);
    }
  }

  /** A slow reader takes long: what a token has begun ends when the token is revoked. */
  async function* whileAllowed(requester: Requester, records: AsyncIterable<object>): AsyncGenerator<object> {
    for await (const record of records) {
      if (isRevoked(requester)) throw new AppError('token_revoked', 'The token was revoked.');
      yield record;
    }
  }

  /** All that is kept of a user, a record at a time: the user, messages with states, memberships, devices, scheduled. */
  async function* exportAll(userId: string): AsyncGenerator<object> {
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
    yield* exportMemberships(userId);
    yield* exportDevices(userId);
    yield* exportScheduled(userId);
  }

  async function* exportMemberships(userId: string): AsyncGenerator<object> {
    let after: string | undefined;
    do {
      const { memberships, next } = await store.memberships(userId, { after, limit: PAGE_SIZE });
      for (const membership of memberships) yield { kind: 'membership', ...membership };
      after = next;
    } while (after !== undefined);
  }

  async function* exportDevices(userId: string): AsyncGenerator<object> {
    let after: string | undefined;
    do {
      const { devices, next } = await store.devices(userId, { after, limit: DEVICES_PER_PAGE });
      for (const { device, cursors: seqs } of devices) {
        yield { kind: 'device', device, cursors: Array.from(seqs, ([topic, seq]) => ({ topic, seq })) };
      }
      after = next;
    } while (after !== undefined);
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

  return { erase, exportFor };
}
