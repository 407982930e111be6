/** Slot rows in a collection. A write checks the version of a row, so that nodes do not undo each other. */
import { type AnyBulkWriteOperation, type Collection, type Filter, ObjectId } from 'mongodb';
import { partsOf } from '../../../utils/parts';
import { type LogPosition, StoreError } from '../contract';
import { blockOf, blocksOf, changeSlots, type SlotFormat, type Span } from '../rules/slot-row';
import { pauseBefore } from '../turns';
import { deleteSome, findByIds, writeAll } from './commands';
import { isDuplicate } from './errors';
import { keyOf, type MessageDoc, type RowDoc, startingWith } from './layout';

/** Rows that are changed together. */
const ROWS_AT_ONCE = 200;
const ROWS_PER_PAGE = 1_000;
const MAX_ATTEMPTS = 30;
/** Blocks sort as numbers. */
const BLOCK_DIGITS = 10;

/** Whose row it is: of nobody, of a user, or of a user and a kind. */
type Owner = readonly string[];
export type RowReader = (topic: string, block: number, owner?: Owner) => Buffer | undefined;

/** A part of one topic. */
export interface TopicSpan extends Span {
  readonly topic: string;
}

export function spanOf({ topic, seq }: LogPosition): TopicSpan {
  return { topic, from: seq, upTo: seq };
}

/** Filters for the messages in some spans that have a tag. */
export function taggedIn(spans: readonly TopicSpan[], tags: string | { $in: string[] }): Filter<MessageDoc>[] {
  return spans.map(({ topic, from, upTo }) => ({ topic, tags, seq: { $gte: from, $lte: upTo } }));
}

export interface SlotChange {
  readonly topic: string;
  readonly span: Span;
  readonly owner: Owner;
  /** May be called several times for a slot: only the last one counts. */
  readonly change: (value: number, seq: number) => number;
}

/** One row before and after a change. */
export interface ChangedRow {
  readonly topic: string;
  readonly block: number;
  readonly before: Buffer | undefined;
  readonly after: Buffer;
}

/** All changes of one row, in the order in which they were asked for. */
interface RowChange {
  readonly _id: string;
  readonly topic: string;
  readonly block: number;
  readonly parts: Pick<SlotChange, 'span' | 'change'>[];
}

export class Rows {
  constructor(
    private readonly collection: Collection<RowDoc>,
    private readonly format: SlotFormat,
  ) {}

  /** The rows of some spans and owners; the reader returns those of the first one, unless another is named. */
  async read(spans: readonly TopicSpan[], ...owners: readonly Owner[]): Promise<RowReader> {
    const ids = spans.flatMap(({ topic, ...span }) =>
      Array.from(blocksOf(this.format, span)).flatMap(([block]) => owners.map((owner) => idOf(topic, block, owner))),
    );
    const rows = await findByIds(this.collection, ids);
    return (topic, block, owner = owners[0] ?? []) => rows.get(idOf(topic, block, owner))?.bytes;
  }

  /** Sets each slot of each span to what `change` makes of it. */
  async apply(changes: readonly SlotChange[]): Promise<ChangedRow[]> {
    const changed: ChangedRow[] = [];
    for (const part of partsOf(this.#byRow(changes), ROWS_AT_ONCE)) changed.push(...(await this.#applyAll(part)));
    return changed;
  }

  #byRow(changes: readonly SlotChange[]): RowChange[] {
    const rows = new Map<string, RowChange>();
    for (const { topic, span: whole, owner, change } of changes) {
      for (const [block, span] of blocksOf(this.format, whole)) {
        const _id = idOf(topic, block, owner);
        const row = rows.get(_id) ?? { _id, topic, block, parts: [] };
        row.parts.push({ span, change });
        rows.set(_id, row);
      }
    }
    return [...rows.values()];
  }

  async #applyAll(rows: readonly RowChange[]): Promise<ChangedRow[]> {
    const changed: ChangedRow[] = [];
    let left = rows;
    for (let attempt = 0; left.length > 0; attempt += 1) {
      if (attempt === MAX_ATTEMPTS) throw new StoreError('rows of states are written by others all the time');
      await pauseBefore(attempt);
      const outcome = await this.#try(left);
      changed.push(...outcome.changed);
      left = outcome.left;
    }
    return changed;
  }

  async #try(rows: readonly RowChange[]): Promise<{ changed: ChangedRow[]; left: RowChange[] }> {
    const known = await findByIds(
      this.collection,
      rows.map(({ _id }) => _id),
    );
    const version = new ObjectId();
    const writes = rows.flatMap((row) => {
      const before = known.get(row._id)?.bytes;
      const after = this.#changed(before, row);
      return after === undefined ? [] : [{ row, before, after }];
    });
    if (writes.length === 0) return { changed: [], left: [] };
    const operations = writes.map(({ row: { _id }, after }) => writeOf(known.get(_id), { _id, version, bytes: after }));
    const isDone = (await this.#writeAll(operations)) ? () => true : await this.#doneBy(version, writes);
    return {
      changed: writes.filter(({ row }) => isDone(row._id)).map(({ row, ...states }) => ({ ...row, ...states })),
      left: writes.filter(({ row }) => !isDone(row._id)).map(({ row }) => row),
    };
  }

  #changed(before: Buffer | undefined, { parts }: RowChange): Buffer | undefined {
    let row: Buffer | undefined = before === undefined ? undefined : Buffer.from(before);
    let isChanged = false;
    for (const { span, change } of parts) {
      const after = changeSlots(this.format, { row, span }, change);
      if (after === undefined) continue;
      row = after;
      isChanged = true;
    }
    return isChanged ? row : undefined;
  }

  /** @returns whether all operations have certainly been done. */
  async #writeAll(operations: AnyBulkWriteOperation<RowDoc>[]): Promise<boolean> {
    try {
      const { insertedCount, matchedCount } = await this.collection.bulkWrite(operations, { ordered: false });
      return insertedCount + matchedCount === operations.length;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      return false;
    }
  }

  /** Read again: a write repeated by the driver counts nothing. */
  async #doneBy(version: ObjectId, writes: readonly { readonly row: RowChange }[]): Promise<(id: string) => boolean> {
    const filter = { _id: { $in: writes.map(({ row }) => row._id) }, version };
    const found = await this.collection.find(filter, { projection: { _id: 1 } }).toArray();
    const done = new Set(found.map(({ _id }) => _id));
    return (id) => done.has(id);
  }

  /** Rows of one block, up to or after an owner in the order of the server: not all sort texts by bytes. */
  async *ofBlock(topic: string, seq: number, part: { upTo?: string | undefined; after?: string | undefined }) {
    const block = [topic, digitsOf(blockOf(this.format, seq))];
    let from: object = { $gte: part.after === undefined ? startingWith(...block).$gte : endOf(block, part.after) };
    const $lt = part.upTo === undefined ? startingWith(...block).$lt : endOf(block, part.upTo);
    for (;;) {
      const rows = await this.collection
        .find({ _id: { ...from, $lt } })
        .sort({ _id: 1 })
        .limit(ROWS_PER_PAGE)
        .toArray();
      yield* rows;
      const last = rows.at(-1);
      if (rows.length < ROWS_PER_PAGE || last === undefined) return;
      from = { $gt: last._id };
    }
  }

  /** Removes rows of all owners that end at or before a `seq`. */
  async removeUpTo(topic: string, seq: number): Promise<void> {
    while ((await this.removeSome(topic, seq)) > 0);
  }

  /** A part of them. @returns how many. */
  async removeSome(topic: string, seq: number): Promise<number> {
    const { $gte, $lt } = startingWith(topic);
    const end = Number.isFinite(seq) ? keyOf(topic, digitsOf(blockOf(this.format, seq + 1))) : $lt;
    return deleteSome(this.collection, { _id: { $gte, $lt: end } }, { limit: ROWS_PER_PAGE });
  }

  /** Removes the rows of one owner, or of all that begin with it. */
  async removeOwner(topic: string, span: Span, owner: string): Promise<void> {
    const operations = Array.from(blocksOf(this.format, span), ([block]) => {
      const { $lt } = startingWith(topic, digitsOf(block), owner);
      return { deleteMany: { filter: { _id: { $gte: idOf(topic, block, [owner]), $lt } } } };
    });
    await writeAll(this.collection, operations);
  }
}

/** After all rows of one owner. */
function endOf(block: readonly string[], owner: string): string {
  return startingWith(...block, owner).$lt;
}

function idOf(topic: string, block: number, owner: Owner): string {
  return keyOf(topic, digitsOf(block), ...owner);
}

function digitsOf(block: number): string {
  return String(block).padStart(BLOCK_DIGITS, '0');
}

function writeOf(known: RowDoc | undefined, { _id, version, bytes }: RowDoc): AnyBulkWriteOperation<RowDoc> {
  if (known === undefined) return { insertOne: { document: { _id, version, bytes } } };
  return { updateOne: { filter: { _id, version: known.version }, update: { $set: { version, bytes } } } };
}
