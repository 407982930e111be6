/** How messages are stored. */
import type { ObjectId } from 'mongodb';
import type { Message } from '../../../utils/protocol';
import { type Draft, StoreError } from '../contract';
import { fingerprintOf } from '../rules/fingerprint';
import { HOLE, keyOf, type MessageDoc, tagsOf } from './layout';

/** A message that has no place in a log yet, its data as JSON text. */
export interface Content extends Omit<Message, 'seq' | 'data'> {
  readonly data: string;
  /** Fingerprint, where a client made the id. */
  readonly said?: string;
}

/** Something that is to have a place in a log. */
export interface Line {
  readonly _id: ObjectId;
  readonly content: Content;
  /** Unique in the topic. */
  readonly key?: string | undefined;
  /** On an entry: the message that it removes. */
  readonly removes?: number | undefined;
  /** When expire() looks at it at the latest. */
  readonly dueAt?: number | undefined;
}

/** @throws when there is no JSON of it. */
export function toText(data: unknown): string {
  return JSON.stringify(data) ?? 'null';
}

export function toContent({ isClientId, ...draft }: Draft): Content {
  const content = { ...draft, data: toText(draft.data) };
  return isClientId ? { ...content, said: fingerprintOf({ isClientId, ...draft }) } : content;
}

export function clientKey({ from, id }: { readonly from: string; readonly id: string }): string {
  return keyOf(from, id);
}

/** Key of the entry about a change, which is appended once. */
export function entryKey(event: string, seq: number, revision = 0): string {
  return keyOf('', event, String(seq), String(revision));
}

/** Key of a scheduled message without a client id, which is sent once. */
export function sendingKey(nonce: ObjectId): string {
  return keyOf('', 'sending', nonce.toHexString());
}

/** Was the key made of a client id? All other keys begin without a sender. */
export function isClientKey(key: string | number): key is string {
  return typeof key === 'string' && !key.startsWith(keyOf('', ''));
}

export function toDoc({ _id, content, key, removes, dueAt }: Line, seq: number, order: number): MessageDoc {
  const isEntry = content.ref !== undefined || content.event === 'state';
  const due = Math.min(dueAt ?? Number.POSITIVE_INFINITY, content.expiresAt ?? Number.POSITIVE_INFINITY);
  return {
    ...content,
    _id,
    seq,
    order,
    key: key ?? seq,
    tags: isEntry ? [HOLE] : tagsOf(content),
    removes,
    dueAt: due === Number.POSITIVE_INFINITY ? undefined : due,
  };
}

const FIELDS = [
  ...(['id', 'topic', 'seq', 'type', 'timestamp', 'from', 'event', 'exceptUserId', 'expiresAt'] as const),
  ...(['collapseKey', 'scheduledFor', 'ref', 'refSeq', 'reason'] as const),
];

/** @throws StoreError when the text is damaged. */
export function toMessage(doc: MessageDoc): Message {
  const known = FIELDS.filter((field) => doc[field] !== undefined && doc[field] !== null);
  const fields = Object.fromEntries(known.map((field) => [field, doc[field]]));
  return { ...fields, data: parseData(doc) } as unknown as Message;
}

function parseData({ topic, seq, data }: MessageDoc): unknown {
  try {
    return JSON.parse(data);
  } catch {
    // The parser quotes what it read, and bodies never reach a log.
    throw new StoreError(`message ${seq} of topic ${topic} is damaged in the store`);
  }
}

/** Bytes of the message as JSON. */
export function bytesOf(doc: MessageDoc, message: Message): number {
  return Buffer.byteLength(JSON.stringify({ ...message, data: 0 })) - 1 + Buffer.byteLength(doc.data);
}
