/**
 * Walks all trees of a data file without LMDB, which trusts its file and ends the process over a damaged page. There
 * are no checksums: pages are checked to fit together. Offsets: `MDB_page_header`, `MDB_node`, `MDB_db` and
 * `MDB_ovpage` of the LMDB version in lmdb-js.
 */
import { readSync } from 'node:fs';

/** The kinds of pages used here: no tree has duplicates. */
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const KINDS = 0x6f;
const BIG_DATA = 0x01;
const TREE_DATA = 0x02;
const HEADER_BYTES = 24;
const NODE_BYTES = 8;
const OVERFLOW_RECORD_BYTES = 24;
export const TREE_BYTES = 48;
/** Pages read at once: those of a level are visited in file order. */
const PAGES_PER_READ = 256;
/** Root of an empty tree. */
export const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/** The pages do not fit together. */
export class DamageError extends Error {}

/** What is counted in a tree. */
type Tally = Record<'branchPages' | 'leafPages' | 'overflowPages' | 'entries', number>;

/** The record of a tree. */
export interface TreeRecord extends Readonly<Tally> {
  readonly depth: number;
  readonly root: bigint;
}

export function readTreeRecord(bytes: Buffer, offset: number): TreeRecord {
  return {
    depth: bytes.readUInt16LE(offset + 6),
    branchPages: Number(bytes.readBigUInt64LE(offset + 8)),
    leafPages: Number(bytes.readBigUInt64LE(offset + 16)),
    overflowPages: Number(bytes.readBigUInt64LE(offset + 24)),
    entries: Number(bytes.readBigUInt64LE(offset + 32)),
    root: bytes.readBigUInt64LE(offset + 40),
  };
}

/** The header of a data file. */
export interface Layout {
  readonly pageSize: number;
  readonly lastPage: bigint;
  readonly freeTree: TreeRecord;
  readonly mainTree: TreeRecord;
}

/** A page that must exist, and the keys between which its own must lie. */
interface Child {
  readonly page: number;
  readonly low?: Uint8Array | undefined;
  readonly high?: Uint8Array | undefined;
}

/** @throws DamageError when a page is missing, is another one, or does not fit its neighbours. */
export function walkFile(file: number, size: number, { pageSize, lastPage, freeTree, mainTree }: Layout): void {
  const pages = new Pages(file, Math.min(Number(lastPage) + 1, Math.floor(size / pageSize)), pageSize);
  // The keys of free pages are numbers, in the order of the machine.
  new Walk(pages, { isSorted: false }).tree('the list of free pages', freeTree);
  const names = new Map<string, TreeRecord>();
  const onTree = (name: string, record: TreeRecord) => names.set(name, record);
  new Walk(pages, { isSorted: true, onTree }).tree('the list of trees', mainTree);
  for (const [name, record] of names) new Walk(pages, { isSorted: true }).tree(`the tree ${name}`, record);
}

/** Pages of the file, each used once. */
class Pages {
  readonly #used: Uint8Array;
  readonly #window: Buffer;
  #from = 0;
  #count = 0;

  constructor(
    private readonly file: number,
    private readonly total: number,
    readonly pageSize: number,
  ) {
    this.#used = new Uint8Array(total);
    this.#window = Buffer.allocUnsafe(PAGES_PER_READ * pageSize);
  }

  /** @returns the page, until the next one is read. */
  take(page: number, kind: number): Buffer {
    this.claim(page, 1);
    const bytes = this.#read(page);
    if (bytes.readUInt32LE(0) + bytes.readUInt32LE(4) * 2 ** 32 !== page) throw damaged(page, 'is another one');
    if ((bytes.readUInt16LE(18) & KINDS) !== kind) throw damaged(page, 'is of another kind');
    return bytes;
  }

  claim(page: number, count: number): void {
    if (page < 2 || page + count > this.total) throw damaged(page, 'does not lie in the file');
    for (let at = page; at < page + count; at += 1) {
      if (this.#used[at] === 1) throw damaged(at, 'is used twice');
      this.#used[at] = 1;
    }
  }

  #read(page: number): Buffer {
    if (page < this.#from || page >= this.#from + this.#count) {
      const bytes = readSync(this.file, this.#window, 0, this.#window.length, page * this.pageSize);
      this.#from = page;
      this.#count = Math.floor(bytes / this.pageSize);
      if (this.#count === 0) throw damaged(page, 'could not be read');
    }
    const start = (page - this.#from) * this.pageSize;
    return this.#window.subarray(start, start + this.pageSize);
  }
}

interface WalkOptions {
  readonly isSorted: boolean;
  /** Receives trees that are values of this one. */
  readonly onTree?: (name: string, record: TreeRecord) => void;
}

/** A tree, level by level. */
class Walk {
  readonly #tally: Tally = { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 };
  #overflows: { readonly page: number; readonly count: number }[] = [];

  constructor(
    private readonly pages: Pages,
    private readonly options: WalkOptions,
  ) {}

  tree(name: string, record: TreeRecord): void {
    try {
      this.#levels(record);
      this.#readOverflows();
    } catch (error) {
      if (error instanceof DamageError) throw new DamageError(`${name}: ${error.message}`);
      throw error;
    }
    for (const [what, count] of Object.entries(this.#tally)) {
      const expected = record[what as keyof Tally];
      if (count !== expected) throw new DamageError(`${name}: it has ${count} ${what} of ${expected}`);
    }
  }

  #levels({ root, depth }: TreeRecord): void {
    if (root === NO_PAGE) return;
    let level: Child[] = [{ page: Number(root) }];
    for (let height = depth; height > 1; height -= 1) {
      const below: Child[] = [];
      for (const child of inFileOrder(level)) this.#branch(child, below);
      level = below;
    }
    for (const child of inFileOrder(level)) this.#leaf(child);
  }

  #branch(child: Child, below: Child[]): void {
    // A copy: keys of it are kept for the level below.
    const bytes = Buffer.from(this.pages.take(child.page, BRANCH));
    this.#tally.branchPages += 1;
    const count = nodesOf(child.page, bytes);
    let low = child.low;
    for (let index = 0; index < count; index += 1) {
      const node = nodeAt(child.page, bytes, index);
      const isLast = index + 1 === count;
      const high = isLast ? child.high : keyOf(bytes, nodeAt(child.page, bytes, index + 1));
      const page = bytes.readUInt32LE(node) + bytes.readUInt16LE(node + 4) * 2 ** 32;
      this.#assertOrder(child.page, [low, high]);
      below.push({ page, low, high });
      low = high;
    }
  }

  #leaf({ page, low, high }: Child): void {
    const bytes = this.pages.take(page, LEAF);
    this.#tally.leafPages += 1;
    const count = nodesOf(page, bytes);
    this.#tally.entries += count;
    let before = low;
    for (let index = 0; index < count; index += 1) {
      const node = nodeAt(page, bytes, index);
      const key = keyOf(bytes, node);
      // The first key of a page may be the one that its parent has for it.
      this.#assertOrder(page, [before, key], { mayBeSame: index === 0 });
      before = key;
      this.#value(page, bytes, node);
    }
    this.#assertOrder(page, [before, high]);
  }

  /** LMDB orders keys byte by byte, and the shorter one first. */
  #assertOrder(page: number, [low, high]: readonly (Uint8Array | undefined)[], { mayBeSame = false } = {}): void {
    if (!this.options.isSorted || low === undefined || high === undefined) return;
    if (Buffer.compare(low, high) > (mayBeSame ? 0 : -1)) throw damaged(page, 'is not in order');
  }

  #value(page: number, bytes: Buffer, node: number): void {
    const flags = bytes.readUInt16LE(node + 4);
    const size = bytes.readUInt32LE(node);
    const data = node + NODE_BYTES + bytes.readUInt16LE(node + 6);
    const isBig = (flags & BIG_DATA) !== 0;
    if (data + (isBig ? OVERFLOW_RECORD_BYTES : size) > bytes.length) throw damaged(page, 'has a value beyond its end');
    if (isBig) {
      const count = Math.floor((HEADER_BYTES - 1 + size) / this.pages.pageSize) + 1;
      this.#overflows.push({ page: Number(bytes.readBigUInt64LE(data)), count });
    } else if ((flags & TREE_DATA) !== 0) {
      if (size !== TREE_BYTES || this.options.onTree === undefined) throw damaged(page, 'has a tree where none can be');
      this.options.onTree(keyOf(bytes, node).toString().replaceAll('\0', ''), readTreeRecord(bytes, data));
    }
  }

  /** Values on their own pages: only the first has a header. */
  #readOverflows(): void {
    for (const { page, count } of inFileOrder(this.#overflows)) {
      const bytes = this.pages.take(page, OVERFLOW);
      const found = bytes.readUInt32LE(20);
      if (found < count) throw damaged(page, `has ${found} pages of ${count}`);
      if (found > 1) this.pages.claim(page + 1, found - 1);
      this.#tally.overflowPages += found;
    }
  }
}

function inFileOrder<One extends { readonly page: number }>(all: One[]): One[] {
  return all.sort((one, other) => one.page - other.page);
}

/** The number of nodes of a page; their offsets lie between its header and its free space. */
function nodesOf(page: number, bytes: Buffer): number {
  const lower = bytes.readUInt16LE(20);
  const upper = bytes.readUInt16LE(22);
  if (lower === 0 || lower % 2 !== 0 || lower > upper || upper > bytes.length - HEADER_BYTES) {
    throw damaged(page, 'has a header that cannot be');
  }
  return lower / 2;
}

/** Where a node begins: its header and key lie within the page. */
function nodeAt(page: number, bytes: Buffer, index: number): number {
  const node = bytes.readUInt16LE(HEADER_BYTES + 2 * index) + HEADER_BYTES;
  const isWithin =
    node >= bytes.readUInt16LE(22) + HEADER_BYTES &&
    node + NODE_BYTES <= bytes.length &&
    node + NODE_BYTES + bytes.readUInt16LE(node + 6) <= bytes.length;
  if (!isWithin) throw damaged(page, 'has an entry beyond its end');
  return node;
}

function keyOf(bytes: Buffer, node: number): Buffer {
  const start = node + NODE_BYTES;
  return bytes.subarray(start, start + bytes.readUInt16LE(node + 6));
}

function damaged(page: number, what: string): DamageError {
  return new DamageError(`page ${page} ${what}`);
}
