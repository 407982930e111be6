/** How messages are stored. */
import { fromIsoTime } from '../../../utils/clock';
import type { Message } from '../../../utils/protocol';
import { StoreError } from '../contract';

/** A message and what only the store knows of it. */
export interface StoredMessage {
  readonly message: Message;
  /** What lists are sorted by: the time of the message, but never less than that of the message before it. */
  readonly order: number;
  /** `seq` of the entry about the latest change of `data`. */
  readonly entry?: number | undefined;
  /** Only the id is left. */
  readonly isGone: boolean;
  /** Of its JSON. */
  readonly bytes: number;
}

type StoredRecord = Message & { readonly order?: number; readonly entry?: number; readonly isGone?: true };

export function formatMessage(message: Message, { order, entry }: Pick<StoredMessage, 'order' | 'entry'>): string {
  const isInOrder = order === fromIsoTime(message.timestamp);
  return JSON.stringify({
    ...message,
    ...(isInOrder ? {} : { order }),
    ...(entry === undefined ? {} : { entry }),
  });
}

/** What remains of a message whose id stays taken. */
export function formatGone({ message, order }: StoredMessage): string {
  const { id, topic, seq, type, timestamp, from, scheduledFor } = message;
  const place = { id, topic, seq, type, data: null, timestamp, from, order, isGone: true };
  return JSON.stringify(scheduledFor === undefined ? place : { ...place, scheduledFor });
}

/** @throws StoreError when the text is damaged. */
export function parseMessage([topic, seq]: readonly [string, number], text: string): StoredMessage {
  try {
    const { order, entry, isGone = false, ...message } = JSON.parse(text) as StoredRecord;
    return { message, order: order ?? fromIsoTime(message.timestamp), entry, isGone, bytes: Buffer.byteLength(text) };
  } catch {
    // Without the cause: the parser quotes what it read, and bodies never reach a log.
    throw new StoreError(`message ${seq} of topic ${topic} is damaged in the store`);
  }
}
