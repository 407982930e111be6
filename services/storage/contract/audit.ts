/** The audit log. */
import type { AuditAction, AuditOutcome } from '../../../utils/audit';

/** Who did what, to how many. Never what was said. */
export interface AuditEntry {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The `sub` of the token. */
  readonly actor: string;
  readonly action: AuditAction;
  readonly outcome: AuditOutcome;
  /** Name of a topic. */
  readonly target?: string;
  readonly messageId?: string;
  readonly count?: number;
  /** The entry stands for so many requests. */
  readonly requests?: number;
  readonly requestId?: string;
}

/** Entries are in the order of time, and then of `id`. */
export type AuditPosition = Pick<AuditEntry, 'at' | 'id'>;

export interface AuditQuery {
  readonly actor?: string | undefined;
  readonly action?: AuditAction | undefined;
  /** Only entries of this time or later. */
  readonly since?: number | undefined;
  /** Only entries before this one. */
  readonly after?: AuditPosition | undefined;
  readonly limit: number;
}

export interface AuditStore {
  /**
   * Keeps entries; flushed to disk. An entry takes the place of one that has its `id`, `at`, `actor` and `action`. When
   * it fails, saving the same again is harmless.
   */
  save(entries: readonly AuditEntry[]): Promise<void>;

  /** Entries that fit the query, newest first, at most `limit`: fewer mean that nothing is left. */
  list(query: AuditQuery): Promise<readonly AuditEntry[]>;

  /** Removes entries from before a time, oldest first, at most `limit`. @returns how many. */
  prune(before: number, limit: number): Promise<number>;
}
