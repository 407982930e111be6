/**
 * Rows of equal slots, one slot for each `seq`: a fact about each message of a topic, kept apart from the messages.
 * A row ends with the last slot that was ever set, so a short log has short rows; slots behind it are 0.
 */

export interface SlotFormat {
  /** Slots of a row. */
  readonly count: number;
  /** Bytes of a slot: 1, or 6 for a time in milliseconds. */
  readonly width: 1 | 6;
}

/** Consecutive places of a log, both ends included. */
export interface Span {
  readonly from: number;
  readonly upTo: number;
}

export function blockOf({ count }: SlotFormat, seq: number): number {
  return Math.floor(seq / count);
}

/** The blocks that a span touches, and its part in each. */
export function* blocksOf(format: SlotFormat, { from, upTo }: Span): Generator<[block: number, part: Span]> {
  for (let start = from; start <= upTo; ) {
    const block = blockOf(format, start);
    const end = Math.min(upTo, (block + 1) * format.count - 1);
    yield [block, { from: start, upTo: end }];
    start = end + 1;
  }
}

/** The slot of a `seq` in the row of its block. */
export function readSlot({ count, width }: SlotFormat, row: Buffer | undefined, seq: number): number {
  const offset = (seq % count) * width;
  if (row === undefined || offset >= row.length) return 0;
  return width === 1 ? (row[offset] ?? 0) : row.readUIntBE(offset, width);
}

/**
 * Sets each slot of a span, which lies within one block, to what `change` makes of it. The row itself may be written.
 * @returns the row as it is now; `undefined` when nothing has changed.
 */
export function changeSlots(
  format: SlotFormat,
  { row: known, span }: { readonly row: Buffer | undefined; readonly span: Span },
  change: (value: number, seq: number) => number,
): Buffer | undefined {
  const { count, width } = format;
  let row = known ?? Buffer.alloc(0);
  let isChanged = false;
  for (let seq = span.from; seq <= span.upTo; seq += 1) {
    const before = readSlot(format, row, seq);
    const after = change(before, seq);
    if (after === before) continue;
    const offset = (seq % count) * width;
    if (offset >= row.length) row = lengthened(row, ((span.upTo % count) + 1) * width);
    row.writeUIntBE(after, offset, width);
    isChanged = true;
  }
  return isChanged ? row : undefined;
}

function lengthened(row: Buffer, length: number): Buffer {
  return Buffer.concat([row, Buffer.alloc(length - row.length)]);
}
