import type { Message } from '../../../utils/protocol';

export interface Receipt {
  readonly userId: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface DeviceReceipt extends Receipt {
  readonly device: string;
}

export interface ReceiptPage {
  /** When it was first written to a connection, in milliseconds since the epoch. */
  readonly sentAt: number | undefined;
  /** By user id; each list has at most `limit` entries, unless one user alone has more devices. */
  readonly acknowledged: readonly DeviceReceipt[];
  readonly seen: readonly Receipt[];
  readonly read: readonly Receipt[];
  /** Distinct users, over all pages. */
  readonly totals: {
    readonly recipients: number;
    readonly acknowledged: number;
    readonly seen: number;
    readonly read: number;
  };
  /** The last user of this page; `undefined` when nothing is left. */
  readonly next: string | undefined;
}

export interface ReceiptOptions {
  readonly limit: number;
  /** Only users after this one. */
  readonly after?: string | undefined;
}

export interface ReceiptStore {
  /**
   * Who has got a message and what they did with it: the owner of a personal topic; else everyone who was there when
   * it was sent, without its sender and `exceptUserId`.
   */
  of(message: Message, options: ReceiptOptions): Promise<ReceiptPage>;
}
