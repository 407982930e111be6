/** States of messages and when they changed; and which places of a log are holes, showing nothing in an inbox. */
import type { Slice } from '../../../utils/slices';
import type { LogPosition } from '../contract';
import type { Stamp } from '../rules/receipt-page';
import { blockOf, blocksOf, readSlot, type Span } from '../rules/slot-row';
import { FLAGS, NOBODY, STAMPS, type StampKind } from '../rules/states';
import { type Trees, walk } from './layout';
import { SlotRows } from './slots';

export class Marks {
  readonly flags: SlotRows;
  readonly holes: SlotRows;
  readonly #stamps: SlotRows;

  constructor(private readonly trees: Trees) {
    this.flags = new SlotRows(() => trees.flags, FLAGS);
    this.holes = new SlotRows(() => trees.holes, FLAGS);
    this.#stamps = new SlotRows(() => trees.stamps, STAMPS);
  }

  get({ topic, seq }: LogPosition, userId: string): number {
    return this.flags.get(topic, seq, userId);
  }

  set({ topic, seq }: LogPosition, userId: string, flags: number): void {
    this.flags.set(topic, seq, flags | this.flags.get(topic, seq, userId), userId);
  }

  markHole({ topic, seq }: LogPosition): void {
    this.holes.set(topic, seq, 1);
  }

  /** Is a place a hole? For many in a row: each row is fetched once. */
  holeReader(topic: string): (seq: number) => boolean {
    let fetched: number | undefined;
    let row: Buffer | undefined;
    return (seq) => {
      const block = blockOf(FLAGS, seq);
      if (block !== fetched) row = this.holes.row(topic, block);
      fetched = block;
      return readSlot(FLAGS, row, seq) === 1;
    };
  }

  /** Sets the time of something for places where `isMeant` is true; 0 removes it. */
  stamp(topic: string, span: Span, about: { userId: string; kind: StampKind; at: number }, isMeant = always): void {
    const change = (before: number, seq: number) => (isMeant(seq) ? about.at : before);
    this.#stamps.update(topic, span, change, about.userId, about.kind);
  }

  /** Sets the time of the first delivery where none is known. */
  stampSent(topic: string, span: Span, at: number): void {
    this.#stamps.update(topic, span, (before) => (before === 0 ? at : before), NOBODY, 'sent');
  }

  /** The times of one message, by user and kind. */
  *stampsOf({ topic, seq }: LogPosition): Generator<Stamp> {
    const block = blockOf(STAMPS, seq);
    const rows = walk(this.trees, 'stamps', { start: [topic, block], end: [topic, block + 1] });
    for (const { key, value } of rows) {
      const [, , userId = NOBODY, kind = ''] = key;
      yield { userId, kind, at: readSlot(STAMPS, value, seq) };
    }
  }

  /** Removes at most `limit` rows about places up to a `seq`. @returns how many. */
  removeUpTo(topic: string, seq: number, limit: number): number {
    let removed = 0;
    for (const rows of [this.holes, this.flags, this.#stamps]) {
      if (removed < limit) removed += rows.removeUpTo(topic, seq, limit - removed);
    }
    return removed;
  }

  /** Removes the states of one user in a topic. */
  removeUser(topic: string, span: Span, userId: string): void {
    this.flags.removeOwner(topic, span, userId);
    this.#stamps.removeOwner(topic, span, userId);
  }

  /** The same for a slice. @returns where to continue; `undefined` at the end. */
  removeUserFrom(
    topic: string,
    span: Span,
    { userId, slice }: { readonly userId: string; readonly slice: Slice },
  ): number | undefined {
    for (const [, part] of blocksOf(FLAGS, span)) {
      this.removeUser(topic, part, userId);
      if (slice.isOver && part.upTo < span.upTo) return part.upTo + 1;
    }
    return undefined;
  }
}

const always = (_seq: number): boolean => true;
