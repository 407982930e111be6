/** Slot rows in a tree of LMDB. What is said of many messages at once costs a write for each row. */
import type { Database } from 'lmdb';
import { blockOf, blocksOf, changeSlots, readSlot, type SlotFormat, type Span } from '../rules/slot-row';
import type { SlotKey } from './layout';

export class SlotRows {
  constructor(
    /** Asked for each time: the environment may have been opened anew. */
    private readonly rows: () => Database<Buffer, SlotKey>,
    private readonly format: SlotFormat,
  ) {}

  get(topic: string, seq: number, ...owner: string[]): number {
    return readSlot(this.format, this.row(topic, blockOf(this.format, seq), ...owner), seq);
  }

  set(topic: string, seq: number, value: number, ...owner: string[]): void {
    this.update(topic, { from: seq, upTo: seq }, () => value, ...owner);
  }

  /** Sets each slot of a span to what `change` makes of it. */
  update(topic: string, span: Span, change: (value: number, seq: number) => number, ...owner: string[]): void {
    for (const [block, part] of blocksOf(this.format, span)) {
      const key: SlotKey = [topic, block, ...owner];
      const row = changeSlots(this.format, { row: this.rows().get(key), span: part }, change);
      if (row !== undefined) this.rows().put(key, row);
    }
  }

  /** The row of one block, for many reads. */
  row(topic: string, block: number, ...owner: string[]): Buffer | undefined {
    return this.rows().get([topic, block, ...owner]);
  }

  /** Removes all rows, of every owner, that end at or before a `seq`; at most `limit` of them. @returns how many. */
  removeUpTo(topic: string, seq: number, limit: number): number {
    const end = [topic, blockOf(this.format, seq + 1)] as unknown as SlotKey;
    return this.#removeAll({ start: [topic, 0], end, limit });
  }

  /** Removes the rows of one owner; `owner` may be the beginning of one. */
  removeOwner(topic: string, span: Span, owner: string): void {
    for (const [block] of blocksOf(this.format, span)) {
      this.#removeAll({ start: [topic, block, owner], end: [topic, block, `${owner}\u0001`] });
    }
  }

  #removeAll(range: { start: SlotKey; end: SlotKey; limit?: number }): number {
    const keys = Array.from(this.rows().getKeys(range));
    for (const key of keys) this.rows().remove(key);
    return keys.length;
  }
}
