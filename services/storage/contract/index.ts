/**
 * The storage contract: a store has parts, and each part is an interface in a file of this folder. The comments are its
 * specification: tests/contracts/*.contract.ts check each sentence on every engine. All methods may be called at any
 * time between open and close, from any number of callers at once. A method that fails throws StoreError. If the input
 * was at fault, nothing has changed; otherwise the work may be done fully or in part, and repeating the call completes
 * it. "Now" is the time of the clock that the store was opened with.
 */
import type { AuditStore } from './audit';
import type { DeviceStore } from './devices';
import type { InboxStore } from './inbox';
import type { KeyStore } from './keys';
import type { LogStore } from './log';
import type { ReceiptStore } from './receipts';
import type { RecentStore } from './recent';
import type { RemovalStore } from './removals';
import type { RevocationStore } from './revocations';
import type { ScheduleStore } from './schedule';
import type { TopicStore } from './topics';
import type { UserStore } from './users';

export * from './audit';
export * from './devices';
export * from './errors';
export * from './flush';
export * from './inbox';
export * from './keys';
export * from './log';
export * from './pages';
export * from './receipts';
export * from './recent';
export * from './removals';
export * from './revocations';
export * from './schedule';
export * from './topics';
export * from './users';

/** What every store has. */
export interface StoreParts {
  readonly log: LogStore;
  readonly devices: DeviceStore;
  readonly users: UserStore;
  readonly topics: TopicStore;
  readonly inbox: InboxStore;
  readonly receipts: ReceiptStore;
  readonly schedule: ScheduleStore;
  readonly keys: KeyStore;
  readonly revocations: RevocationStore;
  readonly audit: AuditStore;
  readonly removals: RemovalStore;

  /** Writes that wait for their batch, or are in it. */
  readonly queuedWrites: number;

  /** Keys that this process has claimed and neither answered nor given back. */
  readonly heldClaims: number;

  /** Resolves when a small write has reached the disk; throws StoreError when the store cannot be written. */
  probe(): Promise<void>;

  /** Waits for what is under way and closes. Later calls throw StoreError. Closing twice does nothing. */
  close(): Promise<void>;
}

/** A store that only this process uses. */
export interface OwnStore extends StoreParts {
  readonly isShared: false;
}

/** A store that several nodes use at once. */
export interface SharedStore extends StoreParts {
  readonly isShared: true;

  /** Names what is stored here: the same for all nodes, and for no other store. */
  readonly identity: string;

  readonly recent: RecentStore;
}

export type Store = OwnStore | SharedStore;
