/**
 * Rows of slots, one for each `seq`: a fact about each message of a topic, stored apart from it. A row ends with its
 * last slot that was ever set; later slots are 0.
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

/** The blocks of a span, and its part in each; in order, or from the end. */
export function* blocksOf(
  format: SlotFormat,
  { from, upTo }: Span,
  { isForward } = { isForward: true },
): Generator<[block: number, part: Span]> {
  if (from > upTo) return;
  const first = blockOf(format, from);
  const last = blockOf(format, upTo);
  for (let index = 0; index <= last - first; index += 1) {
    const block = isForward ? first + index : last - index;
    const start = block * format.count;
    yield [block, { from: Math.max(from, start), upTo: Math.min(upTo, start + format.count - 1) }];
  }
}

/** The slot of a `seq` in the row of its block. */
export function readSlot({ count, width }: SlotFormat, row: Buffer | undefined, seq: number): number {
  const offset = (seq % count) * width;
  if (row === undefined || offset >= row.length) return 0;
  return width === 1 ? (row[offset] ?? 0) : row.readUIntBE(offset, width);
}

/** Places within a block whose one-byte slots are 0, in order or from the end. */
export function* emptySlots(
  { count }: SlotFormat,
  row: Buffer | undefined,
  { from, upTo, isForward }: Span & { readonly isForward: boolean },
): Generator<number> {
  const start = from - (from % count);
  let slot = (isForward ? from : upTo) - start;
  while (slot >= from - start && slot <= upTo - start) {
    if (row !== undefined && slot < row.length && row[slot] !== 0) {
      const found = isForward ? row.indexOf(0, slot) : row.lastIndexOf(0, slot);
      if (found === -1 && !isForward) return;
      slot = found === -1 ? row.length : found;
      continue;
    }
    yield start + slot;
    slot += isForward ? 1 : -1;
  }
}

/**
 * Sets each slot of a span within one block to what `change` returns; may write to the row itself. @returns the new
 * row; `undefined` without a change.
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

/** Adds the bits of a row of bytes to another one, which is at least as long. */
export function addBits(to: Buffer, row: Buffer | undefined): void {
  for (const [slot, value] of row?.entries() ?? []) to[slot] = (to[slot] ?? 0) | value;
}
