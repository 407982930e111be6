import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import type { Store } from './contract';
import { openLmdbStore } from './lmdb';

/**
 * Opens the engine that the configuration names.
 * @throws StoreOpenError with a sentence for the operator.
 */
export function openStore(config: Config, clock: Clock): Store {
  return openLmdbStore(config.storeDirectory, clock);
}
