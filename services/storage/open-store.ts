import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import type { Store } from './contract';
import { openLmdbStore } from './lmdb';
import { openMongoStore } from './mongodb';

/**
 * Opens the engine that the configuration names.
 * @throws StoreOpenError with a sentence for the operator.
 */
export async function openStore({ store }: Config, clock: Clock): Promise<Store> {
  return store.kind === 'mongodb' ? openMongoStore(store.url, clock) : openLmdbStore(store.directory, clock);
}
