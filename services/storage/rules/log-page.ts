/** Pages of a log: as it is read forward, and as a list shows it. */
import type { Message } from '../../../utils/protocol';
import type { HistoryOptions, HistoryPage, Reader, ReadOptions } from '../contract';
import { isInGap } from './gaps';
import { PageRoom } from './page-room';
import type { Span } from './slot-row';

/** Places that one read looks at: a long row of expired ones must not make it long. */
export const MAX_PLACES_PER_READ = 1_000;

/** Senders found for one id: to find others, name the sender. */
export const SENDERS_PER_ID = 1_000;

type Meant = Pick<Message, 'seq' | 'ref' | 'exceptUserId'>;

/** Can what is in the store be read now? */
export function isThere(stored: { readonly isGone?: boolean; readonly expiresAt?: number }, now: number): boolean {
  return !stored.isGone && (stored.expiresAt === undefined || stored.expiresAt > now);
}

/** Is it for this reader? `isUnread` is called only when it matters. */
export function isForReader(
  { seq, ref, exceptUserId }: Meant,
  reader: Reader | undefined,
  isUnread: () => boolean,
): boolean {
  if (reader === undefined) return true;
  if (exceptUserId === reader.userId || isInGap(reader.gaps ?? [], seq)) return false;
  return seq > (reader.unreadUpTo ?? 0) || (ref === undefined && isUnread());
}

/** What one read gives. */
export class ReadPage {
  readonly messages: Message[] = [];
  #bytes = 0;

  constructor(private readonly options: Pick<ReadOptions, 'limit' | 'maxBytes'>) {}

  /** Takes a message if it fits; the first always does. @returns whether it was taken. */
  take(message: Message, bytesOf: () => number): boolean {
    const { limit, maxBytes } = this.options;
    if (maxBytes !== undefined) this.#bytes += bytesOf();
    if (this.messages.length === limit) return false;
    if (maxBytes !== undefined && this.#bytes > maxBytes && this.messages.length > 0) return false;
    this.messages.push(message);
    return true;
  }
}

/** What a history gives. */
export class ListedPage {
  readonly room: PageRoom;
  /** From the oldest on, or from the newest. */
  readonly isForward: boolean;
  /** What is to be looked at. */
  readonly span: Span;
  readonly #found: Message[] = [];

  constructor(
    private readonly options: HistoryOptions,
    { head, prunedUpTo }: { readonly head: number; readonly prunedUpTo: number },
  ) {
    const { after, before = Number.POSITIVE_INFINITY, limit } = options;
    this.room = new PageRoom(limit);
    this.isForward = after !== undefined;
    this.span = { from: Math.max(after ?? 0, prunedUpTo) + 1, upTo: Math.min(before, head + 1) - 1 };
  }

  #isListed({ ref, exceptUserId }: Meant): boolean {
    return ref === undefined && (exceptUserId === undefined || exceptUserId !== this.options.userId);
  }

  /** Adds what is at a place, if it is listed. @returns false when the page is full. */
  take(stored: Meant, read: () => { readonly message: Message; readonly bytes: number }): boolean {
    if (!this.#isListed(stored)) {
      this.room.lookInVain();
      return true;
    }
    const { message, bytes } = read();
    if (!this.room.take(bytes)) return false;
    this.#found.push(message);
    return true;
  }

  /** Ends the page before this place. */
  endBefore(seq: number): HistoryPage {
    return this.end(this.isForward ? seq - 1 : seq + 1);
  }

  /** @param here where to continue when the page ends early. */
  end(here?: number): HistoryPage {
    const messages = this.isForward ? this.#found : this.#found.toReversed();
    return { messages, next: messages.length === this.options.limit ? undefined : here };
  }
}
