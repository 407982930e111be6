/** Messages that wait for their time. */
import type { Message } from '../../../utils/protocol';
import type { Draft } from './log';

/** A message that waits for its time. */
export interface Scheduled {
  readonly draft: Draft;
  /** Milliseconds since the epoch. */
  readonly sendAt: number;
  /** Absent on what an earlier version kept. */
  readonly standing?: Standing | undefined;
  /** Was it scheduled by a service? Then it does not wait for what people have scheduled. */
  readonly isOfService?: boolean;
}

/** By which token something was scheduled. */
export interface Standing {
  readonly scopes: readonly string[];
  /** Unix seconds. */
  readonly issuedAt?: number;
  /** `jti`. */
  readonly tokenId?: string;
}

/** May a message be sent now? `isMember`: is its sender in its named topic. Called inside a write: it must not wait. */
export type MayBeSent = (scheduled: Scheduled, isMember: boolean) => boolean;

export interface DueSent {
  /** The entries that were appended, in order. */
  readonly entries: readonly Message[];
  /** What may not be said any more. */
  readonly refused: readonly Scheduled[];
  /** 0: nothing is left to do. */
  readonly taken: number;
}

export type ScheduleOutcome =
  | { readonly outcome: 'stored' }
  /** The same sender had scheduled the same content under this id before, for `scheduledFor`; sent or not. */
  | { readonly outcome: 'repeated'; readonly scheduledFor: string }
  | { readonly outcome: 'conflict' }
  /** The sender has reached the limit of scheduled messages. */
  | { readonly outcome: 'too_many' };

export interface ScheduledPosition {
  readonly sendAt: number;
  readonly id: string;
  readonly from: string;
}

export interface ScheduledQuery {
  /** Only what this user has scheduled. */
  readonly from?: string | undefined;
  readonly limit: number;
  /** Only what comes after this position. */
  readonly after?: ScheduledPosition | undefined;
}

export interface ScheduleStore {
  /**
   * Keeps a message until its time; flushed to disk like an append, and idempotent under a client's id like one.
   * Scheduling it again makes it depend on the newer token. `maxWaiting`: of one sender, exceeded at most by what is
   * asked for at the same moment.
   */
  add(scheduled: Scheduled, maxWaiting?: number): Promise<ScheduleOutcome>;

  /**
   * Appends what is due, oldest first, at most `limit`; each exactly once, whatever is stopped in between. What services
   * have scheduled gets at least half of the places. One that replaces very many may take several calls. What has
   * expired meanwhile, or whose topic is gone, is dropped, and so is what may not be sent; without `mayBeSent`,
   * everything may.
   */
  appendDue(limit: number, mayBeSent?: MayBeSent): Promise<DueSent>;

  /** What waits, by time. */
  list(options: ScheduledQuery): Promise<readonly Scheduled[]>;

  /** Who has a message of this id waiting. */
  sendersOf(id: string): Promise<readonly string[]>;

  /** Cancels what a user has scheduled. @returns false when nothing of this id waits. */
  cancel(id: string, from: string): Promise<boolean>;
}
