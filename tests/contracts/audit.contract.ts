/** What every engine must do with the audit log. */
import { type AuditEntry, type AuditQuery, type Store, StoreError } from '../../services/storage/contract';
import { milliseconds, range, type Stage, type StoreHarness, setStage } from './support';

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeAuditContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`the audit log, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describeKeeping(stage);
    describeLooking(stage);
    describePruning(stage);
    describeFailures(stage);
  });
}

/** An entry of the second `n`. */
function entry(n: number, fields: Partial<AuditEntry> = {}): AuditEntry {
  const id = `entry-${String(n).padStart(4, '0')}`;
  return { id, at: milliseconds(n), actor: 'service', action: 'send', outcome: 'done', ...fields };
}

/** Page by page. */
async function all(store: Store, query: Partial<AuditQuery> = {}): Promise<AuditEntry[]> {
  const { limit = 1_000 } = query;
  const found: AuditEntry[] = [];
  for (;;) {
    const page = await store.audit.list({ ...query, limit, after: found.at(-1) });
    expect(page.length).toBeLessThanOrEqual(limit);
    found.push(...page);
    if (page.length < limit) return found;
  }
}

function newestFirst(entries: readonly AuditEntry[]): AuditEntry[] {
  return entries.toSorted((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1));
}

function describeKeeping({ open }: Stage): void {
  it('is empty at first', async () => {
    const store = await open();
    expect(await all(store)).toEqual([]);
    await store.audit.save([]);
    expect(await store.audit.prune(milliseconds(1_000), 10)).toBe(0);
  });

  it('keeps every field, even when the store is opened again', async () => {
    const full = { target: '@anna', messageId: 'order-1', count: 0, requests: 7, requestId: 'request-1' };
    const entries = [entry(1), entry(2, full), entry(3, { outcome: 'begun', action: 'erase' })];
    const store = await open();
    await store.audit.save(entries);
    expect(await all(store)).toEqual(newestFirst(entries));
    await store.close();
    expect(await all(await open())).toEqual(newestFirst(entries));
  });

  it('an entry replaces the earlier version of itself', async () => {
    const store = await open();
    const begun = entry(1, { action: 'erase', outcome: 'begun', target: '@anna' });
    const done = { ...begun, outcome: 'done', count: 3 } as const;
    await store.audit.save([begun]);
    for (const _each of [1, 2]) {
      await store.audit.save([done]);
      for (const query of [{}, { actor: 'service' }, { action: 'erase' }] as const) {
        expect(await all(store, query)).toEqual([done]);
      }
    }
  });

  it('takes many entries, and many batches at once', async () => {
    const store = await open();
    const entries = range(1, 1_200).map((n) => entry(n));
    await Promise.all([0, 400, 800].map((from) => store.audit.save(entries.slice(from, from + 400))));
    expect(await all(store, { limit: 500 })).toEqual(newestFirst(entries));
  });

  it('stays when a user is erased that it names', async () => {
    const store = await open();
    const entries = [entry(1, { target: '@anna' }), entry(2, { actor: 'anna' })];
    await store.audit.save(entries);
    await store.devices.open('anna', 'phone');
    await store.users.erase('anna');
    expect(await all(store)).toEqual(newestFirst(entries));
  });
}

function describeLooking({ open }: Stage): void {
  const ACTORS = ['service', 'service 2', 'actor', '', 'send', '@', '$ne', 'a.b', '漢字', 'x'.repeat(128)];
  const ENTRIES = ACTORS.flatMap((actor, index) =>
    (['send', 'erase', 'send'] as const).map((action, nth) =>
      entry(10 * nth + index, { actor, action, id: `${nth} ${index}` }),
    ),
  );

  it.each([1, 3, 7, 100])('lists by time, newest first, in pages of %i', async (limit) => {
    const store = await open();
    await store.audit.save(ENTRIES);
    expect(await all(store, { limit })).toEqual(newestFirst(ENTRIES));
  });

  it('finds what one actor did, one action, and both', async () => {
    const store = await open();
    await store.audit.save(ENTRIES);
    for (const actor of [...ACTORS, 'nobody', 'servic', 'service 2 ']) {
      const own = ENTRIES.filter((one) => one.actor === actor);
      expect(await all(store, { actor, limit: 2 })).toEqual(newestFirst(own));
      const erased = own.filter(({ action }) => action === 'erase');
      expect(await all(store, { actor, action: 'erase' })).toEqual(newestFirst(erased));
    }
    const sends = ENTRIES.filter(({ action }) => action === 'send');
    expect(await all(store, { action: 'send', limit: 4 })).toEqual(newestFirst(sends));
    expect(await all(store, { action: 'revoke' })).toEqual([]);
  });

  it('finds entries since a time, that time included', async () => {
    const store = await open();
    await store.audit.save(ENTRIES);
    for (const since of [
      0,
      milliseconds(0),
      milliseconds(5),
      milliseconds(5) + 1,
      milliseconds(29),
      milliseconds(30),
    ]) {
      const later = newestFirst(ENTRIES.filter(({ at }) => at >= since));
      expect(await all(store, { since, limit: 4 })).toEqual(later);
      const sends = later.filter(({ action }) => action === 'send');
      expect(await all(store, { since, action: 'send', limit: 4 })).toEqual(sends);
    }
  });

  it('orders entries of one time by id', async () => {
    const store = await open();
    const entries = ['b', 'a', 'd', 'c', 'B', 'aa'].map((id) => entry(1, { id }));
    await store.audit.save(entries);
    for (const limit of [1, 2, 10]) expect(await all(store, { limit })).toEqual(newestFirst(entries));
  });
}

function describePruning({ open }: Stage): void {
  it('removes what is older than a time, oldest first, at most `limit` at once', async () => {
    const store = await open();
    const entries = range(1, 10).map((n) => entry(n, { action: n % 2 === 0 ? 'send' : 'erase' }));
    await store.audit.save(entries);
    expect(await store.audit.prune(milliseconds(1), 10)).toBe(0);
    expect(await store.audit.prune(milliseconds(6), 3)).toBe(3);
    expect(await all(store)).toEqual(newestFirst(entries.slice(3)));
    expect(await store.audit.prune(milliseconds(6), 3)).toBe(2);
    expect(await store.audit.prune(milliseconds(6), 3)).toBe(0);
    const left = newestFirst(entries.slice(5));
    for (const query of [{}, { actor: 'service' }]) expect(await all(store, query)).toEqual(left);
    for (const action of ['send', 'erase'] as const) {
      const own = left.filter((one) => one.action === action);
      expect(await all(store, { action })).toEqual(own);
      expect(await all(store, { actor: 'service', action })).toEqual(own);
    }
  });
}

function describeFailures({ open }: Stage): void {
  const CALLS: [string, (store: Store) => Promise<unknown>][] = [
    ['saveAudit', (store) => store.audit.save([entry(1)])],
    ['saveAudit of nothing', (store) => store.audit.save([])],
    ['audit', (store) => store.audit.list({ limit: 1 })],
    ['pruneAudit', (store) => store.audit.prune(0, 1)],
  ];
  it.each(CALLS)('throws StoreError once the store is closed: %s', async (_name, call) => {
    const store = await open();
    await store.close();
    await expect(call(store)).rejects.toBeInstanceOf(StoreError);
  });

  it('names that do not fit are refused by StoreError, and nothing has changed', async () => {
    const store = await open();
    const entries = [entry(1), entry(2, { actor: 'x'.repeat(3_000) })];
    await expect(store.audit.save(entries)).rejects.toBeInstanceOf(StoreError);
    expect(await all(store)).toEqual([]);
  });
}
