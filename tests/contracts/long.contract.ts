/** What every engine must do with large amounts: pages are limited, and nobody is held up by other users' data. */
import { MAX_PAGE_BYTES, type Store } from '../../services/storage/contract';
import { longestHold } from '../support/loop-delay';
import {
  ANNA,
  append,
  appendAll,
  draft,
  draftsOf,
  historyOf,
  milliseconds,
  type Stage,
  type StoreHarness,
  second,
  seqsOf,
  setStage,
} from './support';

/** What a slow machine may add to a slice of 5 ms; without slices it is hundreds. */
const HOLD_MS = 60;

/** What a server tolerates that examines everything for each request. */
interface Scale {
  readonly many: number;
  readonly atOnce: number;
}

const LONG_MS = 120_000;

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeLongContract(
  name: string,
  makeHarness: () => StoreHarness,
  scale: Scale = { many: 6_000, atOnce: 50 },
): void {
  describe(`long reads of the store, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describePages(stage, scale);
    describeHolds(stage, scale);
  });
}

const large = (n: number) => draft({ data: { n, text: 'x'.repeat(60_000) } });

function describePages(stage: Stage, { many }: Scale): void {
  describe('a page', () => {
    it.each([
      ['newest first', {}],
      ['oldest first', { after: 0 }],
    ])('of a history ends before it has too many bytes, and says where to continue: %s', async (_name, range) => {
      const store = await stage.open();
      await appendAll(
        store,
        Array.from({ length: 9 }, (_value, n) => large(n + 1)),
      );
      const { messages, next } = await store.log.history(ANNA, { ...range, limit: 9 });
      expect(Buffer.byteLength(JSON.stringify(messages))).toBeLessThan(MAX_PAGE_BYTES + 1_000);
      expect(messages).toHaveLength(4);
      expect(next).toBe('after' in range ? 4 : 6);
      expect(seqsOf(await historyOf(store, ANNA, { ...range, limit: 9 }))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });

    it('of a history has one message that is larger than a page', async () => {
      const store = await stage.open();
      await append(store, draft({ data: 'x'.repeat(MAX_PAGE_BYTES + 1) }));
      await append(store, draft());
      expect(seqsOf((await store.log.history(ANNA, { after: 0, limit: 9 })).messages)).toEqual([1]);
      expect((await store.log.history(ANNA, { after: 0, limit: 9 })).next).toBe(1);
    });

    it('that is full, or the last, has no next page', async () => {
      const store = await stage.open();
      await appendAll(store, draftsOf(5));
      expect((await store.log.history(ANNA, { limit: 5 })).next).toBeUndefined();
      expect((await store.log.history(ANNA, { limit: 3 })).next).toBeUndefined();
      expect((await store.log.history(ANNA, { limit: 9 })).next).toBeUndefined();
    });

    it('of an inbox ends before it has too many bytes', async () => {
      const store = await stage.open();
      await appendAll(
        store,
        Array.from({ length: 9 }, (_value, n) => large(n + 1)),
      );
      const { items, next } = await store.inbox.list('anna', { limit: 9 });
      expect(items).toHaveLength(4);
      expect(await allOf(store)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1]);
      expect(next).toMatchObject({ seq: 6 });
    });

    it('of an inbox skips what does not match the query, and continues where it ended', async () => {
      const store = await stage.open();
      await appendAll(store, [draft({ type: 'rare' }), ...draftsOf(many), draft({ type: 'rare' })]);
      await store.inbox.changeStates('anna', { topic: ANNA, upTo: many }, 'archived');
      const first = await store.inbox.list('anna', { type: 'rare', state: 'any', limit: 9 });
      expect(first.items.length).toBeLessThan(many > 2_000 ? 2 : 3);
      expect(await allOf(store, { type: 'rare', state: 'any' })).toEqual([many + 2, 1]);
      expect(await allOf(store)).toEqual([many + 2, many + 1]);
    });

    it('finds what is between many that are gone', async () => {
      const store = await stage.open();
      await append(store, draft());
      for (let n = 0; n < 5; n += 1) await append(store, draft({ collapseKey: 'k' }));
      await append(store, draft());
      // Replaced ones and the entries about them are in between.
      expect(seqsOf(await historyOf(store, ANNA, { limit: 9 }))).toEqual([1, 10, 11]);
      expect(seqsOf(await historyOf(store, ANNA, { after: 0, limit: 9 }))).toEqual([1, 10, 11]);
      expect(await allOf(store)).toEqual([11, 10, 1]);
    });
  });
}

/** The places of anna's inbox, over all its pages. */
async function allOf(store: Store, query: object = {}): Promise<number[]> {
  const seqs: number[] = [];
  let after: Awaited<ReturnType<Store['inbox']['list']>>['next'];
  do {
    const page = await store.inbox.list('anna', { ...query, limit: 9, after });
    seqs.push(...page.items.map(({ message }) => message.seq));
    after = page.next;
  } while (after !== undefined);
  return seqs;
}

function describeHolds(stage: Stage, { many, atOnce }: Scale): void {
  describe('holds nobody up:', () => {
    /** Runs it once to warm up, then reports how long others had to wait. */
    async function expectShort(work: () => Promise<unknown>): Promise<void> {
      await work();
      const holds: number[] = [];
      for (let n = 0; n < 3; n += 1) holds.push(await longestHold(work));
      expect(Math.min(...holds)).toBeLessThan(HOLD_MS);
    }

    it(
      'many who request the history, the inbox and the counts of a log of which most is gone',
      async () => {
        const store = await stage.open();
        await append(store, draft());
        await appendAll(store, draftsOf(many, { expiresAt: milliseconds(5) }));
        stage.clock.set(milliseconds(9));
        while ((await store.log.expire(500)).taken > 0);
        await expectShort(() =>
          Promise.all(Array.from({ length: atOnce }, () => store.log.history(ANNA, { limit: 10 }))),
        );
        await expectShort(() =>
          Promise.all(Array.from({ length: atOnce }, () => store.inbox.list('anna', { limit: 10 }))),
        );
        await expectShort(() => Promise.all(Array.from({ length: atOnce }, () => store.inbox.counts('anna'))));
      },
      LONG_MS,
    );

    it(
      'changes of all states, and the whole of an inbox',
      async () => {
        const store = await stage.open();
        await appendAll(store, draftsOf(many, { timestamp: second(1) }));
        await expectShort(() => allOf(store));
        await expectShort(async () => {
          await store.inbox.changeStates('anna', { all: true }, 'read');
          await store.inbox.changeStates('anna', { all: true }, 'unread');
        });
      },
      LONG_MS,
    );
  });
}
