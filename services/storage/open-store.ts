import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import type { FlushListener, Store } from './contract';
import { openLmdbStore } from './lmdb';
import { openMongoStore } from './mongodb';

/**
 * Opens the engine that the configuration names; `onFlush` hears of each batch it writes.
 * @throws StoreOpenError with a sentence for the operator.
 */
export async function openStore({ store }: Config, clock: Clock, onFlush: FlushListener): Promise<Store> {
  return store.kind === 'mongodb'
    ? openMongoStore(store.url, clock, onFlush)
    : openLmdbStore(store.directory, clock, onFlush);
}
