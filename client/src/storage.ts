/** Where a device keeps what must outlive the page: its name, what it has handled, and its last view of the inbox. */
import { messageOf, TidingsError } from './errors.ts';
import { Patience } from './timing.ts';

/** A storage that answers later than this is not used. */
const STORAGE_PATIENCE_MS = 5_000;

/** `localStorage` is one; so is any asynchronous store of texts with these three methods. */
export interface StorageAdapter {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): void | Promise<void>;
  removeItem(key: string): void | Promise<void>;
}

/** Forgets with the process: a program that restarts is a new device. */
export function memoryStorage(): StorageAdapter {
  const items = new Map<string, string>();
  return {
    getItem: (key) => items.get(key),
    setItem: (key, value) => {
      items.set(key, value);
    },
    removeItem: (key) => {
      items.delete(key);
    },
  };
}

/** `localStorage` in a page that may use it, memory elsewhere. Node has a `localStorage` too, which is not meant. */
export function defaultStorage(): StorageAdapter {
  const { window } = globalThis as { window?: { localStorage?: StorageAdapter | null; document?: object } };
  try {
    // `null` in Android web views in which it was not enabled.
    const storage = window?.document === undefined ? undefined : window.localStorage;
    if (storage !== undefined && storage !== null) return storage;
  } catch {
    // A page without an origin, or whose user refuses storage: reading the property throws.
  }
  return memoryStorage();
}

/** The part of a storage for one user of one service. A storage that fails is reported, and no longer needed. */
export class Shelf {
  readonly #patience = new Patience();

  constructor(
    readonly storage: StorageAdapter,
    readonly prefix: string,
    private readonly report: (error: TidingsError) => void,
  ) {}

  async get(name: string): Promise<string | undefined> {
    try {
      return (await this.#inTime(Promise.resolve(this.storage.getItem(this.prefix + name)))) ?? undefined;
    } catch (error) {
      this.#failed('read', error);
      return undefined;
    }
  }

  /** A value that was stored as JSON; `undefined` if there is none, or none that this package has written. */
  async getJson(name: string): Promise<unknown> {
    const text = await this.get(name);
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch (error) {
      this.#failed('read', error);
      return undefined;
    }
  }

  /** With a synchronous storage, it is kept when this returns. */
  set(name: string, value: string): void | Promise<void> {
    return this.#write(() => this.storage.setItem(this.prefix + name, value));
  }

  remove(name: string): void | Promise<void> {
    return this.#write(() => this.storage.removeItem(this.prefix + name));
  }

  #write(write: () => void | Promise<void>): void | Promise<void> {
    try {
      const writing = write();
      if (writing === undefined) return;
      return this.#inTime(Promise.resolve(writing)).catch((error: unknown) => this.#failed('written', error));
    } catch (error) {
      this.#failed('written', error);
    }
  }

  #inTime<Result>(work: Promise<Result>): Promise<Result> {
    return this.#patience.wait(work, STORAGE_PATIENCE_MS);
  }

  #failed(what: string, error: unknown): void {
    const message = `The storage could not be ${what}: ${messageOf(error)}`;
    this.report(new TidingsError('storage_failed', message, { cause: error }));
  }
}
