/**
 * Which messages a new one with a collapse key replaces: unread ones with the same sender and key. Those found read are
 * set aside, so that the next message does not check them again, until they become unread.
 */
import type { Message } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { Span } from '../rules/slot-row';
import { type CollapsingKey, type RangeOf, type Trees, walk } from './layout';

/** Messages that one transaction replaces or sets aside. */
const PER_TRANSACTION = 100;

/** Messages that one transaction takes back: cheaper than replacing them. */
const TAKEN_BACK_AT_ONCE = 200;

type Keyed = Pick<Message, 'topic' | 'from' | 'collapseKey'>;

export class Collapse {
  constructor(private readonly trees: Trees) {}

  /** Messages that may be replaced, oldest first. `isMore`: there are others. */
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

  /** An earlier version recorded only the newest message, whoever sent it. */
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

  /** Where to cut a span so that one transaction can take back each part. */
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

  /** Takes back the messages of a span for which `isMeant` is true. */
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
