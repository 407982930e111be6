/**
 * Everything stored about one user, a record at a time: the user, messages with states, memberships, devices,
 * scheduled.
 */
import type { Cursors } from '../services/delivery/cursors';
import type { InboxPosition, Scheduled, ScheduledPosition, Store } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { toListedItem } from './inbox';
import { toScheduledAnswer } from './schedule';

export interface RecordParts {
  readonly store: Store;
  readonly cursors: Pick<Cursors, 'flush' | 'lastSeen'>;
  readonly clock: Clock;
}

const PAGE_SIZE = 200;
/** Each has a cursor in every topic of the user. */
const DEVICES_PER_PAGE = 1;

export async function* recordsOf(parts: RecordParts, userId: string): AsyncGenerator<object> {
  const { store, cursors, clock } = parts;
  await cursors.flush();
  const user = await store.users.get(userId);
  const lastSeen = await cursors.lastSeen(userId);
  yield {
    kind: 'user',
    userId,
    isKnown: user !== undefined,
    lastSeen: lastSeen === undefined ? null : toIsoTime(lastSeen),
    exportedAt: toIsoTime(clock.now()),
  };
  yield* messagesOf(parts, userId);
  yield* membershipsOf(parts, userId);
  yield* devicesOf(parts, userId);
  yield* scheduledOf(parts, userId);
}

async function* membershipsOf({ store }: RecordParts, userId: string): AsyncGenerator<object> {
  let after: string | undefined;
  do {
    const { items, next } = await store.topics.memberships(userId, { after, limit: PAGE_SIZE });
    for (const membership of items) yield { kind: 'membership', ...membership };
    after = next;
  } while (after !== undefined);
}

async function* devicesOf({ store }: RecordParts, userId: string): AsyncGenerator<object> {
  let after: string | undefined;
  do {
    const { items, next } = await store.devices.list(userId, { after, limit: DEVICES_PER_PAGE });
    for (const { device, cursors: seqs } of items) {
      yield { kind: 'device', device, cursors: Array.from(seqs, ([topic, seq]) => ({ topic, seq })) };
    }
    after = next;
  } while (after !== undefined);
}

async function* messagesOf({ store }: RecordParts, userId: string): AsyncGenerator<object> {
  let after: InboxPosition | undefined;
  do {
    const { items, next } = await store.inbox.list(userId, { state: 'any', limit: PAGE_SIZE, after });
    for (const item of items) yield { kind: 'message', ...toListedItem(item) };
    after = next;
  } while (after !== undefined);
}

async function* scheduledOf({ store }: RecordParts, userId: string): AsyncGenerator<object> {
  let after: ScheduledPosition | undefined;
  let page: readonly Scheduled[];
  do {
    page = await store.schedule.list({ from: userId, limit: PAGE_SIZE, after });
    for (const scheduled of page) yield { kind: 'scheduled', ...toScheduledAnswer(scheduled) };
    const last = page.at(-1);
    if (last !== undefined) after = { sendAt: last.sendAt, id: last.draft.id, from: last.draft.from };
  } while (page.length === PAGE_SIZE);
}
