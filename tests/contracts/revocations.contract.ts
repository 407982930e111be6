/** What every engine must do with tokens that are refused before their time. */
import { REVOCATION_MARGIN_MS, type Revocation, type Store, StoreError } from '../../services/storage/contract';
import { milliseconds, range, type Stage, type StoreHarness, setStage } from './support';

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeRevocationContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`revocations, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describeKeeping(stage);
    describeForgetting(stage);
    describeFailures(stage);
  });
}

/** Page by page. */
async function all(store: Store, limit = 1_000): Promise<Revocation[]> {
  const found: Revocation[] = [];
  for (;;) {
    const page = await store.revocations.list({ limit, after: found.at(-1) });
    expect(page.length).toBeLessThanOrEqual(limit);
    found.push(...page);
    if (page.length < limit) return found;
  }
}

const ordered = (revocations: readonly Revocation[]) => revocations.map((one) => JSON.stringify(one)).toSorted();

async function expectKept(store: Store, expected: readonly Revocation[]): Promise<void> {
  expect(ordered(await all(store))).toEqual(ordered(expected));
}

function describeKeeping({ open }: Stage): void {
  it('there are none at first', async () => {
    const store = await open();
    await expectKept(store, []);
    expect(await store.revocations.forget(10)).toBe(0);
  });

  it('are kept by user and by token, even when the store is opened again', async () => {
    const kept: Revocation[] = [
      { userId: 'anna', issuedBefore: 100 },
      { userId: 'anna', jti: 'one' },
      { userId: 'anna', jti: 'two', expiresAt: 1_000.5 },
      { userId: 'ben', issuedBefore: 0 },
      { userId: 'cem', jti: 'one' },
    ];
    const store = await open();
    for (const one of kept) await store.revocations.keep(one);
    await expectKept(store, kept);
    await store.close();
    await expectKept(await open(), kept);
  });

  it('the time of a user only grows', async () => {
    const store = await open();
    for (const issuedBefore of [100, 50, 200, 200, 150]) await store.revocations.keep({ userId: 'anna', issuedBefore });
    await expectKept(store, [{ userId: 'anna', issuedBefore: 200 }]);
  });

  it('the end of a token may be reported later, and only grows', async () => {
    const store = await open();
    const token = { userId: 'anna', jti: 'one' };
    await store.revocations.keep(token);
    await store.revocations.keep({ ...token, expiresAt: 300 });
    for (const one of [{ ...token, expiresAt: 200 }, token]) await store.revocations.keep(one);
    await expectKept(store, [{ ...token, expiresAt: 300 }]);
    await store.revocations.keep({ ...token, expiresAt: 400 });
    await expectKept(store, [{ ...token, expiresAt: 400 }]);
  });

  it('of one user at once: the greatest stays', async () => {
    const store = await open();
    await Promise.all(
      range(1, 50).map((n) => store.revocations.keep({ userId: 'anna', issuedBefore: ((n * 37) % 50) + 1 })),
    );
    await expectKept(store, [{ userId: 'anna', issuedBefore: 50 }]);
  });

  it('are listed in pages of any size, each once', async () => {
    const store = await open();
    const users = ['a', 'a b', 'aa', 'ä', '漢字', 'A', '@', '*', '$set', 'a.b', '__proto__'];
    const kept = users.flatMap((userId): Revocation[] => [
      { userId, issuedBefore: 7 },
      { userId, jti: 'a' },
      { userId, jti: '$x.y' },
      { userId, jti: '漢字', expiresAt: 9 },
    ]);
    for (const one of kept) await store.revocations.keep(one);
    for (const limit of [1, 3, 4, 100]) expect(ordered(await all(store, limit))).toEqual(ordered(kept));
  });

  it('stay when the user is erased', async () => {
    const store = await open();
    const kept: Revocation[] = [
      { userId: 'anna', issuedBefore: 7 },
      { userId: 'anna', jti: 'a', expiresAt: 9 },
    ];
    await store.devices.open('anna', 'phone');
    for (const one of kept) await store.revocations.keep(one);
    await store.users.erase('anna');
    await expectKept(store, kept);
  });
}

/** Seconds after the beginning that all tests share, as tokens have them. */
const unix = (n: number) => milliseconds(n) / 1000;

function describeForgetting(stage: Stage): void {
  it('a token is forgotten a day after its end, at most `limit` at once; the others stay', async () => {
    const store = await stage.open();
    const stay: Revocation[] = [
      { userId: 'anna', issuedBefore: unix(0) },
      { userId: 'anna', jti: 'of unknown end' },
      { userId: 'anna', jti: 'later', expiresAt: unix(20) },
    ];
    const go = range(1, 5).map((n): Revocation => ({ userId: 'anna', jti: `token ${n}`, expiresAt: unix(10) }));
    for (const one of [...stay, ...go]) await store.revocations.keep(one);
    stage.clock.set(milliseconds(10) + REVOCATION_MARGIN_MS - 1);
    expect(await store.revocations.forget(10)).toBe(0);
    await expectKept(store, [...stay, ...go]);
    stage.clock.set(milliseconds(10) + REVOCATION_MARGIN_MS);
    expect(await store.revocations.forget(3)).toBe(3);
    expect(await store.revocations.forget(3)).toBe(2);
    expect(await store.revocations.forget(3)).toBe(0);
    await expectKept(store, stay);
  });

  it('a token whose end was moved is forgotten after the later one', async () => {
    const store = await stage.open();
    const token = { userId: 'anna', jti: 'one' };
    for (const n of [10, 30]) await store.revocations.keep({ ...token, expiresAt: unix(n) });
    stage.clock.set(milliseconds(20) + REVOCATION_MARGIN_MS);
    expect(await store.revocations.forget(10)).toBe(0);
    await expectKept(store, [{ ...token, expiresAt: unix(30) }]);
    stage.clock.set(milliseconds(30) + REVOCATION_MARGIN_MS);
    expect(await store.revocations.forget(10)).toBe(1);
    await expectKept(store, []);
    await store.revocations.keep(token);
    await expectKept(store, [token]);
  });
}

function describeFailures({ open }: Stage): void {
  const CALLS: [string, (store: Store) => Promise<unknown>][] = [
    ['revoke', (store) => store.revocations.keep({ userId: 'anna', issuedBefore: 1 })],
    ['revocations', (store) => store.revocations.list({ limit: 1 })],
    ['forgetRevocations', (store) => store.revocations.forget(1)],
  ];
  it.each(CALLS)('throws StoreError once the store is closed: %s', async (_name, call) => {
    const store = await open();
    await store.close();
    await expect(call(store)).rejects.toBeInstanceOf(StoreError);
  });

  it('names that do not fit are refused by StoreError, and nothing has changed', async () => {
    const store = await open();
    await expect(store.revocations.keep({ userId: 'anna', jti: 'x'.repeat(3_000) })).rejects.toBeInstanceOf(StoreError);
    await expectKept(store, []);
  });
}
