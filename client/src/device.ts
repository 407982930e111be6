/** The name of this device: made once for each storage, however many clients and tabs ask at the same time. */
import { newId } from './ids.ts';
import type { Shelf, StorageAdapter } from './storage.ts';

const KEPT_AS = 'device';

interface Locks {
  request<Result>(name: string, work: () => Promise<Result>): Promise<Result>;
}

/** Names that clients of this program are making right now. */
const opening = new WeakMap<StorageAdapter, Map<string, Promise<string>>>();

export function openDevice(shelf: Shelf): Promise<string> {
  const ofStorage = opening.get(shelf.storage) ?? new Map<string, Promise<string>>();
  opening.set(shelf.storage, ofStorage);
  const known = ofStorage.get(shelf.prefix);
  if (known !== undefined) return known;
  const made = oneTabAtATime(shelf).finally(() => ofStorage.delete(shelf.prefix));
  ofStorage.set(shelf.prefix, made);
  return made;
}

/** Tabs that a browser opens together all find the storage empty. */
async function oneTabAtATime(shelf: Shelf): Promise<string> {
  const { navigator } = globalThis as { navigator?: { locks?: Locks } };
  const kept = await shelf.get(KEPT_AS);
  if (kept !== undefined) return kept;
  return (await navigator?.locks?.request(shelf.prefix + KEPT_AS, () => makeDevice(shelf))) ?? makeDevice(shelf);
}

async function makeDevice(shelf: Shelf): Promise<string> {
  const kept = await shelf.get(KEPT_AS);
  if (kept !== undefined) return kept;
  const device = newId();
  await shelf.set(KEPT_AS, device);
  return device;
}
