/** Who received, saw and read a message. */
import { z } from 'zod';
import type { Cursors } from '../services/delivery/cursors';
import type { Delivery } from '../services/delivery/delivery';
import type { DeviceReceipt, Receipt, ReceiptPage, Store } from '../services/storage/contract';
import type { Caller } from '../utils/caller';
import { toIsoTime } from '../utils/clock';
import { readPageToken, writePageToken } from '../utils/page-token';
import { parseInput, receiptsQuerySchema } from '../utils/schemas';
import type { FindMessage } from './find-message';

export interface ReceiptParts {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly cursors: Cursors;
  readonly find: FindMessage;
}

export interface ReceiptsAnswer {
  readonly id: string;
  readonly stored: string;
  readonly sent: string | null;
  readonly acknowledged: readonly { userId: string; device: string; time: string }[];
  readonly seen: readonly { userId: string; time: string }[];
  readonly read: readonly { userId: string; time: string }[];
  readonly totals: ReceiptPage['totals'];
  readonly nextCursor: string | null;
}

export type ReadReceipts = ReturnType<typeof createReadReceipts>;

const MAX_RECEIPTS = 1_000;
const LIST = 'receipts';

export function createReadReceipts({ store, delivery, cursors, find }: ReceiptParts) {
  /** The receipts of a message. Times are at most a second late. For the sender, or scope `admin`. */
  return async function receipts(caller: Caller, id: string, query: unknown): Promise<ReceiptsAnswer> {
    const { limit = MAX_RECEIPTS, cursor, from } = parseInput(receiptsQuerySchema, query);
    const after = cursor === undefined ? undefined : readPageToken(LIST, z.string(), cursor);
    const message = await find.sentBy(caller, id, from);
    await find.assertStillThere(caller, message);
    // The latest acknowledgements are still in memory.
    delivery.collectPositions();
    await cursors.flush();
    const { sentAt, acknowledged, seen, read, totals, next } = await store.receipts.of(message, { limit, after });
    return {
      id,
      stored: message.timestamp,
      sent: sentAt === undefined ? null : toIsoTime(sentAt),
      acknowledged: acknowledged.map(toDeviceReceipt),
      seen: seen.map(toReceipt),
      read: read.map(toReceipt),
      totals,
      nextCursor: next === undefined ? null : writePageToken(LIST, next),
    };
  };
}

function toReceipt({ userId, at }: Receipt) {
  return { userId, time: toIsoTime(at) };
}

function toDeviceReceipt({ userId, device, at }: DeviceReceipt) {
  return { userId, device, time: toIsoTime(at) };
}
