import { type Draft, StoreError } from '../contract';

/** LMDB takes 1,978 bytes, some servers with the protocol of MongoDB 2 KiB, including types and separators. */
const MAX_KEY_BYTES = 1_900;

/** Refuses names that do not fit a key together, before anything is written. @throws StoreError. */
export function assertFitsKey(...names: readonly string[]): void {
  let bytes = 0;
  for (const name of names) bytes += Buffer.byteLength(name);
  if (bytes > MAX_KEY_BYTES) throw new StoreError(`names of ${bytes} bytes do not fit a key of the store`);
}

/** The same for all names in a message. */
export function assertDraftFits({ topic, id, from, collapseKey = '', exceptUserId = '' }: Draft): void {
  assertFitsKey(topic, id, from, collapseKey, exceptUserId);
}
