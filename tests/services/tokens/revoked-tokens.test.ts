/** Revoked tokens are forgotten when they would have ended anyway, as far as that can be known. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSingleNode } from '../../../services/cluster/contract';
import {
  REVOCATION_MARGIN_MS,
  type Revocation,
  type RevocationStore,
  type Store,
  StoreError,
  StoreOpenError,
} from '../../../services/storage/contract';
import { openLmdbStore } from '../../../services/storage/lmdb/store';
import { RevokedTokens } from '../../../services/tokens/revoked-tokens';
import type { Caller } from '../../../utils/caller';
import { captureLog } from '../../support/captured-log';
import { ShiftedClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { range } from '../../support/service';
import { onTestEnd, temporaryDirectory } from '../../support/temporary';

const clock = new ShiftedClock();
const log = captureLog();

async function open(store: Store): Promise<RevokedTokens> {
  const roster = { countElsewhere: () => 0, nodeCount: 1 };
  const revocations = new RevokedTokens({
    store,
    cluster: createSingleNode('node'),
    roster,
    clock,
    logger: log.logger,
  });
  onTestEnd(() => revocations.close());
  await revocations.open({ close: () => 0, expiryOf: () => undefined });
  return revocations;
}

function openStore(): Store {
  const store = openLmdbStore(temporaryDirectory(), clock);
  onTestEnd(() => store.close());
  return store;
}

/** A store that does another thing instead in one method of its revocations. */
function withFault(store: Store, method: keyof RevocationStore, fault: () => Promise<never>): Store {
  return { ...store, revocations: { ...store.revocations, [method]: fault } };
}

const seconds = (fromNow: number) => Math.floor(clock.now() / 1000) + fromNow;

const callerOf = (fields: Partial<Caller>): Caller => ({ userId: 'anna', scopes: new Set(), issuedAt: 1, ...fields });

/** In a later turn of the event loop: reads of this store give none back. */
async function kept(store: Store): Promise<readonly Revocation[]> {
  await nextTurn();
  return store.revocations.list({ limit: 100 });
}

const untilKept = (store: Store, expected: readonly Revocation[]) =>
  eventually(
    () => kept(store),
    (found) => JSON.stringify(found) === JSON.stringify(expected),
  );

it('the expiry of a revoked token is learned when it is presented, and the token forgotten a day after it', async () => {
  const store = openStore();
  const revocations = await open(store);
  const expiresAt = seconds(60);
  const anna = callerOf({ tokenId: 'one', expiresAt });
  await revocations.revoke({ userId: 'anna', jti: 'one' });
  await revocations.revoke({ userId: 'anna', jti: 'never presented' });
  expect(revocations.isRevoked(anna)).toBe(true);
  const other = { userId: 'anna', jti: 'never presented' };
  await untilKept(store, [other, { userId: 'anna', jti: 'one', expiresAt }]);
  await revocations.close();

  const again = await open(store);
  expect(again.isRevoked(anna)).toBe(true);
  await again.close();
  clock.shift(61_000 + REVOCATION_MARGIN_MS);
  const third = await open(store);
  await untilKept(store, [other]);
  // It has been over for a day by its own `exp`, which is judged before.
  expect((await open(store)).isRevoked(anna)).toBe(false);
  expect(third.isRevoked(callerOf({ tokenId: 'never presented' }))).toBe(true);
});

it('what was learned just before a stop is written', async () => {
  const store = openStore();
  const revocations = await open(store);
  await revocations.revoke({ userId: 'anna', jti: 'one' });
  const expiresAt = seconds(60);
  expect(revocations.isRevoked(callerOf({ tokenId: 'one', expiresAt }))).toBe(true);
  await revocations.close();
  expect(await kept(store)).toEqual([{ userId: 'anna', jti: 'one', expiresAt }]);
});

it('all are read at start, however many', async () => {
  const store = openStore();
  await Promise.all(range(1, 2_100).map((n) => store.revocations.keep({ userId: `user ${n}`, issuedBefore: 100 })));
  const revocations = await open(store);
  for (const n of range(1, 2_100)) expect(revocations.isRevoked(callerOf({ userId: `user ${n}` }))).toBe(true);
  expect(revocations.isRevoked(callerOf({ userId: 'user 2101' }))).toBe(false);
});

it('a start is refused when they cannot be read', async () => {
  const store = withFault(openStore(), 'list', () => Promise.reject(new StoreError('the disk is gone')));
  await expect(open(store)).rejects.toThrow(StoreOpenError);
});

it('nothing is refused that could not be stored', async () => {
  const store = withFault(openStore(), 'keep', () => Promise.reject(new StoreError('the disk is full')));
  const revocations = await open(store);
  await expect(revocations.revoke({ userId: 'anna', issuedBefore: 100 })).rejects.toThrow(StoreError);
  expect(revocations.isRevoked(callerOf({}))).toBe(false);
});

it('an expiry that cannot be written is logged once, and written later', async () => {
  const store = openStore();
  let isBroken = false;
  let refusals = 0;
  const revoke = store.revocations.keep.bind(store);
  store.revocations.keep = (revocation) => {
    if (!isBroken) return revoke(revocation);
    refusals += 1;
    return Promise.reject(new StoreError('away'));
  };
  const revocations = await open(store);
  await revocations.revoke({ userId: 'anna', jti: 'one' });
  isBroken = true;
  const expiresAt = seconds(60);
  revocations.isRevoked(callerOf({ tokenId: 'one', expiresAt }));
  await eventually(
    async () => {
      await kept(store);
      return refusals;
    },
    (count) => count === 3,
  );
  isBroken = false;
  await untilKept(store, [{ userId: 'anna', jti: 'one', expiresAt }]);
  expect(log.errors()).toHaveLength(1);
});
