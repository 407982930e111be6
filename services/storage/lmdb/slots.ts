/** Slot rows in a tree. A change of many messages costs one write per row. */
import type { Database } from 'lmdb';
import { blockOf, blocksOf, changeSlots, readSlot, type SlotFormat, type Span } from '../rules/slot-row';
import type { SlotKey } from './layout';

export class SlotRows {
  constructor(
    /** Looked up each time: the environment may have been opened again. */
    private readonly rows: () => Database<Buffer, SlotKey>,
    private readonly format: SlotFormat,
  ) {}

  get(topic: string, seq: number, ...owner: string[]): number {
    return readSlot(this.format, this.row(topic, blockOf(this.format, seq), ...owner), seq);
  }

  set(topic: string, seq: number, value: number, ...owner: string[]): void {
    this.update(topic, { from: seq, upTo: seq }, () => value, ...owner);
  }

  update(topic: string, span: Span, change: (value: number, seq: number) => number, ...owner: string[]): void {
    for (const [block, part] of blocksOf(this.format, span)) {
      const key: SlotKey = [topic, block, ...owner];
      const row = changeSlots(this.format, { row: this.rows().get(key), span: part }, change);
      if (row !== undefined) this.rows().put(key, row);
    }
  }

  row(topic: string, block: number, ...owner: string[]): Buffer | undefined {
    return this.rows().get([topic, block, ...owner]);
  }

  /** Removes rows of all owners that end at or before a `seq`, at most `limit`. @returns how many. */
  removeUpTo(topic: string, seq: number, limit: number): number {
    const end = [topic, blockOf(this.format, seq + 1)] as unknown as SlotKey;
    return this.#removeAll({ start: [topic, 0], end, limit });
  }

  /** Removes the rows of one owner, or of all that begin with it. */
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
