/**
 * The open environment of an embedded store, and its trees. When writing a header fails, LMDB refuses everything, even
 * reads, until the environment is opened again: the store does that and continues.
 */
import { existsSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { describeMissing } from '../../internals';
import { StoreError, StoreOpenError } from '../contract';
import { checkHeaders, checkPages, dataFilePath, readMetaOf } from './file';
import { DATABASES, LAYOUT_VERSION, LISTING, openTrees, READABLE_LAYOUTS, type Trees } from './layout';

export class Environment {
  /** Of the environment that is open now: look them up for each use. */
  readonly trees: Trees;
  #root: RootDatabase;
  #isUsable = true;
  #underWay: Promise<void> | undefined;

  /** @throws StoreOpenError when it is in use by another process, or of another layout. */
  constructor(private readonly directory: string) {
    checkHeaders(directory);
    this.#root = openRoot(directory);
    this.trees = this.#prepare(() => checkPages(directory));
  }

  /** Resolves when `work` is on disk. One at a time. @throws what LMDB throws; then nothing was written. */
  async transaction(work: () => void): Promise<void> {
    const done = this.#transact(work);
    const end = () => {
      this.#underWay = undefined;
    };
    this.#underWay = done.then(end, end);
    await done;
  }

  async #transact(work: () => void): Promise<void> {
    if (!this.#isUsable) await this.#openAnew();
    try {
      await this.#root.transaction(work);
    } catch (error) {
      const cause = await causeOf(error);
      if (!this.#canWrite()) await this.#openAnew();
      throw cause;
    }
  }

  /** The current transaction, including recovery if it fails; never rejects. */
  get underWay(): Promise<void> | undefined {
    return this.#underWay;
  }

  get isUsable(): boolean {
    return this.#isUsable;
  }

  async close(): Promise<void> {
    if (this.#isUsable) await this.#root.close();
  }

  /** A transaction without writes does not touch the disk: it fails only when LMDB has given up. */
  #canWrite(): boolean {
    try {
      this.#root.transactionSync(() => undefined);
      return true;
    } catch {
      return false;
    }
  }

  /** When this fails, the next write tries again. */
  async #openAnew(): Promise<void> {
    if (this.#isUsable) {
      this.#isUsable = false;
      await this.#root.close();
    }
    try {
      // LMDB would create a new store where a volume is no longer mounted.
      if (!existsSync(dataFilePath(this.directory))) throw new StoreError('its data file is away');
      this.#root = openRoot(this.directory);
      Object.assign(this.trees, this.#prepare());
      this.#isUsable = true;
    } catch (error) {
      throw new StoreError('the store could not be opened anew', { cause: error });
    }
  }

  /** `check` runs before LMDB reads any page, and after no other process can write. */
  #prepare(check: () => void = () => {}): Trees {
    const root = this.#root;
    try {
      refuseOtherProcess(root, this.directory);
      refuseMovedEngine(root, this.directory);
      check();
      const trees = openTrees(root);
      prepareLayout(root, trees, this.directory);
      return trees;
    } catch (error) {
      root.close().catch(() => {
        // The reason why it could not be opened is thrown below.
      });
      throw error;
    }
  }
}

/** LMDB maps its table of readers before it has disk space: without any, the process dies with SIGBUS. */
const ROOM_TO_OPEN_BYTES = 1024 * 1024;

function refuseWithoutRoom(directory: string): void {
  if (existsSync(join(directory, 'lock.mdb'))) return;
  const { bavail, bsize, blocks } = statfsSync(directory);
  // A file system without a disk has no blocks: its limit shows on the first write.
  if (blocks === 0 || bavail * bsize >= ROOM_TO_OPEN_BYTES) return;
  throw new StoreOpenError(
    `The disk of the store in ${directory} is full: make room, or choose another directory with DATA_DIR (or STORE_URL, if that names it).`,
  );
}

function openRoot(path: string): RootDatabase {
  refuseWithoutRoom(path);
  // The queue batches turns. The batching of lmdb-js would cause an unhandled rejection for every failed commit.
  return open({ path, noSubdir: false, overlappingSync: false, eventTurnBatching: false, maxDbs: DATABASES.length });
}

/**
 * LMDB lists the processes that read, and locks each entry until its process ends. Adding an entry before looking
 * ensures that of two processes starting at once at least one sees the other.
 */
function refuseOtherProcess(root: RootDatabase, directory: string): void {
  root.getStats();
  root.readerCheck();
  const other = readersOf(root).find((pid) => pid !== process.pid);
  if (other !== undefined) throw inUse(directory, `process ${other}`);
}

/** The list is meant for people: one line per process, starting with its number. */
function readersOf(root: RootDatabase): number[] {
  const rows = root.readerList().split('\n').slice(1);
  return rows.map((row) => Number.parseInt(row.trim(), 10)).filter((pid) => !Number.isNaN(pid));
}

/** Without this, a changed file format or reader list of LMDB would go unnoticed. */
function refuseMovedEngine(root: RootDatabase, directory: string): void {
  const stats = root.getStats() as Partial<Record<string, unknown>>;
  const meta = readMetaOf(directory);
  const isFileAsRead = meta?.pageSize === stats['pageSize'] && meta?.mainTree.depth === stats['treeDepth'];
  if (!isFileAsRead) throw new StoreOpenError(describeMissing('lmdb: data file'));
  if (!readersOf(root).includes(process.pid)) throw new StoreOpenError(describeMissing('lmdb: reader list'));
}

export function inUse(directory: string, user: string): StoreOpenError {
  return new StoreOpenError(
    `The store in ${directory} is in use by ${user}. One process can use an embedded store: stop the other one, ` +
      'or give this one another directory (STORE_URL=lmdb:DIRECTORY).',
  );
}

/** Upgrades an older layout; work that takes long is done later, in parts. */
function prepareLayout(root: RootDatabase, { meta, removals }: Trees, directory: string): void {
  const version = meta.get('layoutVersion');
  if (version === LAYOUT_VERSION) return;
  if (version !== undefined && !READABLE_LAYOUTS.includes(version)) {
    throw new StoreOpenError(
      `The store in ${directory} has layout ${version}, and this version reads ${READABLE_LAYOUTS.join(' and ')}: start the version that wrote it.`,
    );
  }
  root.transactionSync(() => {
    if (version !== undefined) removals.put(LISTING, { at: 0, step: 0, upTo: 0 });
    meta.put('layoutVersion', LAYOUT_VERSION);
  });
}

/** The error of a failed commit: lmdb-js rejects with a general one that carries its promise. */
async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error;
  try {
    await error.commitError;
    return error;
  } catch (cause) {
    return cause;
  }
}
