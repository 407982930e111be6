/** The audit log on its way to the store: what is written when, how much of it, and what happens in a fault. */
import { AuditLog, ENTRIES_PER_BATCH, type Requester } from '../../services/audit-log';
import { type AuditEntry, type Store, StoreError } from '../../services/storage/contract';
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { captureLog } from '../support/captured-log';
import { ShiftedClock } from '../support/clock';
import { range } from '../support/service';
import { onTestEnd, temporaryDirectory } from '../support/temporary';

const DAY_MS = 86_400_000;
const ERASE = { action: 'erase', target: '@anna' } as const;
const SEND = { action: 'send', target: '@anna', messageId: 'order-1', count: 1 } as const;

const log = captureLog();

/** A store whose audit log refuses, or hangs, on demand. */
class FaultyStore {
  readonly saved: (readonly AuditEntry[])[] = [];
  isFailing = false;
  readonly store: Store;

  constructor(private readonly real: Store) {
    const save = (entries: readonly AuditEntry[]) => this.#save(entries);
    this.store = { ...real, audit: { ...real.audit, save } };
  }

  async #save(entries: readonly AuditEntry[]): Promise<void> {
    if (this.isFailing) throw new StoreError('told to fail');
    this.saved.push(entries);
    await this.real.audit.save(entries);
  }
}

function start(options: { retentionDays?: number } = {}) {
  const clock = new ShiftedClock();
  const real = openLmdbStore(temporaryDirectory(), clock);
  onTestEnd(() => real.close());
  const faulty = new FaultyStore(real);
  const parts = { store: faulty.store, clock, logger: log.logger, retentionDays: 90, ...options };
  return { audit: new AuditLog(parts), faulty, clock };
}

const requester = (userId = 'service', scope = 'send'): Requester => ({
  userId,
  scopes: new Set([scope]),
  requestId: `request of ${userId}`,
});

const listed = (audit: AuditLog) => audit.list({ limit: 1_000 });

describe('what an administrator does', () => {
  it('is on disk before it is done, and its outcome before the caller is answered', async () => {
    const { audit, faulty } = start();
    const result = await audit.record(
      requester('admin', 'admin'),
      ERASE,
      async () => {
        expect(faulty.saved).toEqual([[expect.objectContaining({ ...ERASE, actor: 'admin', outcome: 'begun' })]]);
        return { messages: 7 };
      },
      ({ messages }) => messages,
    );
    expect(result).toEqual({ messages: 7 });
    expect(faulty.saved.at(-1)).toEqual([{ ...faulty.saved[0]?.[0], outcome: 'done', count: 7 }]);
    expect(await listed(audit)).toHaveLength(1);
  });

  it('is not done when it cannot be recorded', async () => {
    const { audit, faulty } = start();
    faulty.isFailing = true;
    const work = jest.fn(() => 1);
    await expect(audit.record(requester(), ERASE, work, Number)).rejects.toBeInstanceOf(StoreError);
    expect(work).not.toHaveBeenCalled();
    faulty.isFailing = false;
    expect(await listed(audit)).toEqual([]);
  });

  it('is recorded as failed when it fails, and the caller learns why', async () => {
    const { audit } = start();
    const failing = () => Promise.reject(new Error('as it is'));
    await expect(audit.record(requester(), ERASE, failing, Number)).rejects.toThrow('as it is');
    expect(await listed(audit)).toEqual([expect.objectContaining({ ...ERASE, outcome: 'failed' })]);
  });

  it('is done, and answered, when only its outcome cannot be recorded; that is written later', async () => {
    const { audit, faulty } = start();
    const work = () => {
      faulty.isFailing = true;
      return 3;
    };
    expect(await audit.record(requester(), ERASE, work, (count) => count)).toBe(3);
    expect(await listed(audit)).toEqual([expect.objectContaining({ outcome: 'begun' })]);
    expect(log.lines.join()).toContain('the audit log could not be written');
    faulty.isFailing = false;
    expect(await listed(audit)).toEqual([expect.objectContaining({ outcome: 'done', count: 3 })]);
  });
});

describe('what services do', () => {
  it('is written later, but at once for a reader of the log', async () => {
    const { audit, faulty, clock } = start();
    audit.note(requester(), SEND);
    expect(faulty.saved).toEqual([]);
    const [entry] = await listed(audit);
    expect(entry).toEqual({
      ...SEND,
      id: expect.any(String),
      at: expect.any(Number),
      actor: 'service',
      outcome: 'done',
      requestId: 'request of service',
    });
    expect(Math.abs((entry?.at ?? 0) - clock.now())).toBeLessThan(60_000);
    await audit.flush();
    expect(faulty.saved).toHaveLength(1);
  });

  it.each([
    ['send', 1],
    ['broadcast', 1],
    ['admin', 1],
    ['presence', 0],
    ['', 0],
  ])('is recorded for callers with the scope %j', async (scope, count) => {
    const { audit } = start();
    audit.note(requester('anna', scope), SEND);
    expect(await listed(audit)).toHaveLength(count);
  });

  it('has an entry for each of the first requests, and one for all further ones of a caller and action', async () => {
    const { audit } = start();
    for (const n of range(1, 100)) audit.note(requester(), { ...SEND, messageId: `${n}`, count: 2 });
    audit.note(requester('other'), SEND);
    audit.note(requester(), { action: 'cancel', messageId: 'order-1', count: 1 });
    const entries = await listed(audit);
    const own = entries.filter(({ actor, action }) => actor === 'service' && action === 'send');
    expect(entries).toHaveLength(own.length + 2);
    expect(own).toHaveLength(ENTRIES_PER_BATCH + 1);
    const [shared, ...single] = own;
    expect(single.map(({ messageId }) => messageId)).toEqual(range(1, ENTRIES_PER_BATCH).map(String).reverse());
    expect(shared).toEqual({
      id: expect.any(String),
      at: expect.any(Number),
      actor: 'service',
      action: 'send',
      outcome: 'done',
      requests: 100 - ENTRIES_PER_BATCH,
      count: 2 * (100 - ENTRIES_PER_BATCH),
    });
    // Another batch begins again.
    audit.note(requester(), SEND);
    expect(await audit.list({ limit: 1 })).toEqual([expect.objectContaining(SEND)]);
  });

  it('stays in memory while the store refuses, within the same bounds, and is written once', async () => {
    const { audit, faulty } = start();
    faulty.isFailing = true;
    for (const round of range(1, 10)) {
      for (const n of range(1, 15)) audit.note(requester(), { ...SEND, messageId: `${round}.${n}` });
      await audit.flush();
    }
    faulty.isFailing = false;
    const entries = await listed(audit);
    expect(entries).toHaveLength(ENTRIES_PER_BATCH + 1);
    const count = entries.reduce((sum, entry) => sum + (entry.count ?? 0), 0);
    const requests = entries.reduce((sum, entry) => sum + (entry.requests ?? 1), 0);
    expect({ count, requests }).toEqual({ count: 150, requests: 150 });
    expect(faulty.saved).toHaveLength(1);
  });

  it('that comes in while a batch is refused goes after it', async () => {
    const { audit, faulty } = start();
    faulty.isFailing = true;
    for (const n of range(1, ENTRIES_PER_BATCH)) audit.note(requester(), { ...SEND, messageId: `first ${n}` });
    const refused = audit.flush();
    await Promise.resolve();
    for (const _each of range(1, 3)) audit.note(requester(), SEND);
    await refused;
    faulty.isFailing = false;
    const entries = await listed(audit);
    const single = entries.filter(({ messageId }) => messageId?.startsWith('first '));
    expect(single).toHaveLength(ENTRIES_PER_BATCH);
    expect(entries).toHaveLength(ENTRIES_PER_BATCH + 1);
    expect(entries.find(({ requests }) => requests !== undefined)).toMatchObject({ requests: 3, count: 3 });
  });
});

describe('retention', () => {
  it('removes what is older, and 0 records nothing and removes all', async () => {
    const { audit, clock } = start({ retentionDays: 10 });
    for (const _day of range(1, 3)) {
      audit.note(requester(), SEND);
      await audit.flush();
      clock.shift(4 * DAY_MS);
    }
    expect(await audit.prune(10)).toBe(1);
    expect(await listed(audit)).toHaveLength(2);
  });

  it('0 records nothing, and existing entries are removed', async () => {
    const { audit, faulty, clock } = start();
    audit.note(requester(), SEND);
    await audit.flush();
    const off = new AuditLog({ store: faulty.store, clock, logger: log.logger, retentionDays: 0 });
    off.note(requester(), SEND);
    faulty.isFailing = true;
    expect(await off.record(requester(), ERASE, () => 1, Number)).toBe(1);
    await off.flush();
    expect(await listed(off)).toHaveLength(1);
    clock.shift(1);
    expect(await off.prune(10)).toBe(1);
    expect(await listed(off)).toEqual([]);
  });
});
