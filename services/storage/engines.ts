import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import type { FlushListener, Store } from './contract';
import { openLmdbStore } from './lmdb/store';

/** Checks the address without opening it. @throws StoreOpenError. */
export async function checkStore({ store }: Config): Promise<void> {
  if (store.kind === 'lmdb') return;
  const { checkAddress } = await import('./mongodb/connection.ts');
  checkAddress(store.url);
}

/** Opens the configured engine; `onFlush` receives each batch. @throws StoreOpenError for the operator. */
export async function openStore({ store }: Config, clock: Clock, onFlush: FlushListener): Promise<Store> {
  if (store.kind === 'lmdb') return openLmdbStore(store.directory, clock, onFlush);
  // The driver is large, and only loaded when it is used.
  const { openMongoStore } = await import('./mongodb/store.ts');
  return openMongoStore(store.url, clock, onFlush);
}
