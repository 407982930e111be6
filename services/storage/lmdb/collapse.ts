/**
 * Which messages a new one with a collapse key takes the place of: all of the same sender and key that are unread. What
 * is found to be read is put aside, so that the next one does not look at it; it comes back when it is unread again.
 */
import type { Message } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { Span } from '../rules/slot-row';
import { type CollapsingKey, type RangeOf, type Trees, walk } from './layout';

/** What one transaction replaces, or puts aside. */
const PER_TRANSACTION = 100;

/** What one transaction takes back: cheaper than to replace it. */
const TAKEN_BACK_AT_ONCE = 200;

type Keyed = Pick<Message, 'topic' | 'from' | 'collapseKey'>;

export class Collapse {
  constructor(private readonly trees: Trees) {}

  /** Messages that may be replaced, oldest first; `isMore`: not all of them. */
  candidates({ topic, from, collapseKey = '' }: Keyed): { seqs: number[]; isMore: boolean } {
    this.#takeOver(topic, collapseKey);
    const range = {
      start: ['open', topic, from, collapseKey, 0],
      end: ['open', topic, from, collapseKey, Number.MAX_SAFE_INTEGER],
      limit: PER_TRANSACTION + 1,
    } as unknown as RangeOf<CollapsingKey>;
    const seqs = Array.from(this.trees.collapsing.getKeys(range), (key) => key.at(-1) as number);
    return { seqs: seqs.slice(0, PER_TRANSACTION), isMore: seqs.length > PER_TRANSACTION };
  }

  /** The version before knew the newest one only, and not whose it was. */
  #takeOver(topic: string, key: string): void {
    const { collapse, messages } = this.trees;
    const seq = collapse.get([topic, key]);
    if (seq === undefined) return;
    const text = messages.get([topic, seq]);
    collapse.remove([topic, key]);
    if (text !== undefined) this.add(JSON.parse(text) as Message);
  }

  add({ topic, from, collapseKey, seq }: Keyed & { readonly seq: number }): void {
    if (collapseKey !== undefined) this.trees.collapsing.put(['open', topic, from, collapseKey, seq], true);
  }

  putAside({ topic, from, collapseKey = '', seq }: Keyed & { readonly seq: number }): void {
    this.trees.collapsing.remove(['open', topic, from, collapseKey, seq]);
    this.trees.collapsing.put(['read', topic, seq], [from, collapseKey]);
  }

  /** Ends of parts of a span in each of which one transaction takes back what was put aside. */
  async cutsOf(topic: string, { from, upTo }: Span): Promise<number[]> {
    const ends: number[] = [];
    let count = 0;
    const range = { start: ['read', topic, from], end: ['read', topic, upTo + 1] };
    for (const { key } of walk(this.trees, 'collapsing', range)) {
      if (isSliceOver()) await nextSlice();
      count += 1;
      if (count % TAKEN_BACK_AT_ONCE === 0) ends.push(key.at(-1) as number);
    }
    return ends;
  }

  /** Takes back what `isMeant` of the places of a span. */
  takeBack(topic: string, { from, upTo }: Span, isMeant: (seq: number) => boolean): void {
    const { collapsing } = this.trees;
    const range = { start: ['read', topic, from], end: ['read', topic, upTo + 1] } as RangeOf<CollapsingKey>;
    for (const { key, value } of Array.from(collapsing.getRange(range))) {
      const seq = key.at(-1) as number;
      if (value === true || !isMeant(seq)) continue;
      const [sender, collapseKey] = value;
      collapsing.remove(key);
      collapsing.put(['open', topic, sender, collapseKey, seq], true);
    }
  }

  forget({ topic, from, collapseKey, seq }: Keyed & { readonly seq: number }): void {
    if (collapseKey === undefined) return;
    this.trees.collapsing.remove(['open', topic, from, collapseKey, seq]);
    this.trees.collapsing.remove(['read', topic, seq]);
    if (this.trees.collapse.get([topic, collapseKey]) === seq) this.trees.collapse.remove([topic, collapseKey]);
  }
}
