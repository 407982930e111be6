/** Rows of slots, against the plainest thing that can hold them: a list of numbers for each topic and owner. */
import { type Database, open, type RootDatabase } from 'lmdb';
import type { SlotKey } from '../../../../services/storage/lmdb/layout';
import { SlotRows } from '../../../../services/storage/lmdb/slots';
import { blockOf, blocksOf, readSlot } from '../../../../services/storage/rules/slot-row';
import { type Random, seededRandom } from '../../../support/random';
import { onTestEnd, temporaryDirectory } from '../../../support/temporary';

type SlotFormat = ConstructorParameters<typeof SlotRows>[1];
type Span = Parameters<SlotRows['update']>[1];

const FORMATS: [string, SlotFormat][] = [
  ['flags', { count: 8, width: 1 }],
  ['times', { count: 5, width: 6 }],
];
const TOPICS = ['@anna', '@ann', '*'];
/** One is the beginning of another, one has a kind behind it. */
const OWNERS = [[], ['ann'], ['anna'], ['ann', 'seen'], ['ann', 'ack:phone'], ['n'.repeat(128), 'read']];
const LAST_SEQ = 60;

function openRows(format: SlotFormat): { rows: SlotRows; tree: Database<Buffer, SlotKey>; root: RootDatabase } {
  const root = open({ path: temporaryDirectory(), noSubdir: false });
  onTestEnd(() => root.close());
  const tree = root.openDB<Buffer, SlotKey>({ name: 'rows', encoding: 'binary' });
  return { rows: new SlotRows(() => tree, format), tree, root };
}

/** Slots by topic and owner. */
class Model {
  readonly #slots = new Map<string, number[]>();

  of(topic: string, owner: readonly string[]): number[] {
    const key = JSON.stringify([topic, ...owner]);
    const slots = this.#slots.get(key) ?? Array.from({ length: LAST_SEQ + 1 }, () => 0);
    this.#slots.set(key, slots);
    return slots;
  }
}

function spanOf(random: Random): Span {
  const from = random.integer(0, LAST_SEQ);
  return { from, upTo: Math.min(LAST_SEQ, from + random.integer(-1, 20)) };
}

const largestOf = ({ width }: SlotFormat) => 2 ** (8 * width) - 1;

function pick<Value>(random: Random, values: readonly Value[]): Value {
  return values[random.integer(0, values.length - 1)] as Value;
}

describe.each(FORMATS)('slots as wide as %s', (name, format) => {
  it('hold what was set, whatever was set and removed before, in whatever order', () => {
    const random = seededRandom(`slots of ${name}`);
    const { rows, root } = openRows(format);
    const model = new Model();
    for (let step = 0; step < 400; step += 1) {
      root.transactionSync(() => takeStep(rows, model, random, format));
      const topic = pick(random, TOPICS);
      const owner = pick(random, OWNERS);
      const expected = model.of(topic, owner);
      expect(expected.map((_value, seq) => rows.get(topic, seq, ...owner))).toEqual(expected);
    }
  });

  it('hold the greatest value, in the first slot of a row and in the last', () => {
    const { rows, root } = openRows(format);
    const largest = largestOf(format);
    const places = [0, 1, format.count - 1, format.count, 2 * format.count - 1];
    root.transactionSync(() => {
      for (const seq of places) rows.set('*', seq, largest, 'anna');
    });
    for (let seq = 0; seq <= 2 * format.count; seq += 1) {
      expect([seq, rows.get('*', seq, 'anna')]).toEqual([seq, places.includes(seq) ? largest : 0]);
    }
  });

  it('are read one by one from a row that was fetched, and from none', () => {
    const { rows, root } = openRows(format);
    root.transactionSync(() => rows.set('*', format.count + 2, 7, 'anna'));
    const block = blockOf(format, format.count + 2);
    const row = rows.row('*', block, 'anna');
    expect(readSlot(format, row, format.count + 2)).toBe(7);
    expect(readSlot(format, row, format.count + 1)).toBe(0);
    expect(readSlot(format, row, 2 * format.count - 1)).toBe(0);
    expect(rows.row('*', block + 1, 'anna')).toBeUndefined();
    expect(readSlot(format, undefined, 5)).toBe(0);
  });

  it('make a row as long as what was set, and none for what stays unchanged', () => {
    const { rows, tree, root } = openRows(format);
    const keys = () => Array.from(tree.getKeys({}));
    root.transactionSync(() => rows.update('*', { from: 1, upTo: 3 * format.count }, (value) => value, 'anna'));
    expect(keys()).toEqual([]);
    root.transactionSync(() => rows.set('*', 2, 1, 'anna'));
    expect(keys()).toEqual([['*', 0, 'anna']]);
    expect(tree.get(['*', 0, 'anna'])).toHaveLength(3 * format.width);
  });

  it('form blocks that together are the span, each within one row', () => {
    const random = seededRandom(`blocks of ${name}`);
    for (let n = 0; n < 200; n += 1) {
      const span = spanOf(random);
      const blocks = [...blocksOf(format, span)];
      const seqs = blocks.flatMap(([, { from, upTo }]) => Array.from({ length: upTo - from + 1 }, (_v, i) => from + i));
      expect(seqs).toEqual(Array.from({ length: Math.max(0, span.upTo - span.from + 1) }, (_v, i) => span.from + i));
      for (const [block, { from, upTo }] of blocks) {
        expect([blockOf(format, from), blockOf(format, upTo)]).toEqual([block, block]);
      }
    }
  });

  it('are removed at most so many rows at once, the first ones first', () => {
    const { rows, tree, root } = openRows(format);
    const owners = ['a', 'b', 'c'];
    const last = 3 * format.count - 1;
    root.transactionSync(() => {
      for (const owner of owners) rows.update('*', { from: 0, upTo: last }, () => 1, owner);
    });
    const left = () => Array.from(tree.getKeys({})).map(([, block, owner]) => `${block}${owner}`);
    root.transactionSync(() => rows.removeUpTo('*', last, 4));
    expect(left()).toEqual(['1b', '1c', '2a', '2b', '2c']);
    root.transactionSync(() => rows.removeUpTo('*', last, 100));
    expect(left()).toEqual([]);
  });
});

function takeStep(rows: SlotRows, model: Model, random: Random, format: SlotFormat): void {
  const topic = pick(random, TOPICS);
  const owner = pick(random, OWNERS);
  const span = spanOf(random);
  const choice = random.integer(1, 20);
  if (choice <= 8) {
    const value = pick(random, [0, 1, random.integer(0, largestOf(format)), largestOf(format)]);
    rows.set(topic, span.from, value, ...owner);
    model.of(topic, owner)[span.from] = value;
  } else if (choice <= 17) update(rows, model, { topic, owner, span }, random.integer(0, 3));
  else if (choice === 18) removeUpTo(rows, model, topic, { seq: span.from, format });
  else removeOwner(rows, model, { topic, span, format }, pick(random, ['ann', 'anna', 'n'.repeat(128), 'nobody']));
}

interface Target {
  readonly topic: string;
  readonly owner: readonly string[];
  readonly span: Span;
}

/** Changes some slots by what they are and where. */
function update(rows: SlotRows, model: Model, { topic, owner, span }: Target, kind: number): void {
  const change = (value: number, seq: number) => (seq % 3 === kind ? value : (value * 3 + seq) % 200);
  const told: number[] = [];
  rows.update(
    topic,
    span,
    (value, seq) => {
      told.push(seq);
      return change(value, seq);
    },
    ...owner,
  );
  const slots = model.of(topic, owner);
  const expected: number[] = [];
  for (let seq = span.from; seq <= span.upTo; seq += 1) {
    slots[seq] = change(slots[seq] ?? 0, seq);
    expected.push(seq);
  }
  expect(told).toEqual(expected);
}

/** Only rows go that end there: the row in which the place lies stays when more follows in it. */
function removeUpTo(rows: SlotRows, model: Model, topic: string, about: { seq: number; format: SlotFormat }): void {
  rows.removeUpTo(topic, about.seq, 1_000);
  const end = Math.floor((about.seq + 1) / about.format.count) * about.format.count;
  for (const owner of OWNERS) model.of(topic, owner).fill(0, 0, end);
}

/** Whole rows of the owner go, of every kind, and of nobody whose name begins alike. */
function removeOwner(
  rows: SlotRows,
  model: Model,
  about: { topic: string; span: Span; format: SlotFormat },
  name: string,
): void {
  const { topic, span, format } = about;
  rows.removeOwner(topic, span, name);
  if (span.from > span.upTo) return;
  const first = Math.floor(span.from / format.count) * format.count;
  const end = (Math.floor(span.upTo / format.count) + 1) * format.count;
  for (const owner of OWNERS.filter(([first_]) => first_ === name)) model.of(topic, owner).fill(0, first, end);
}
