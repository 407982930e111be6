/** Request counts that nodes share in Redis; while Redis is down, or without one, each node counts by itself. */
import { type ClientRateLimitInfo, MemoryStore, type Options, type Store } from 'express-rate-limit';
import { type RedisReply, RedisStore } from 'rate-limit-redis';
import type { Cluster } from '../../services/cluster/contract';

export class SharedRateLimits implements Store {
  readonly #local = new MemoryStore();
  #options: Options | undefined;
  /** Its scripts are loaded on first use: Redis may be down at start. */
  #shared: Promise<RedisStore> | undefined;

  constructor(private readonly cluster: Cluster) {}

  init(options: Options): void {
    this.#options = options;
    this.#local.init(options);
  }

  increment(key: string): Promise<ClientRateLimitInfo> {
    return this.#either((store) => store.increment(key));
  }

  /** Adds to a key that was counted just before. @returns the sum. */
  add(key: string, count: number): Promise<number> {
    return this.#either((store) =>
      store instanceof RedisStore ? this.#addShared(key, count) : addEach(store, key, count),
    );
  }

  async #addShared(key: string, count: number): Promise<number> {
    return Number(await this.cluster.command(['INCRBY', `${this.#prefix}${key}`, String(count)]));
  }

  get #prefix(): string {
    return `${this.cluster.prefix}rate:`;
  }

  async decrement(key: string): Promise<void> {
    await this.#either((store) => store.decrement(key));
  }

  async resetKey(key: string): Promise<void> {
    await this.#either((store) => store.resetKey(key));
  }

  /** While Redis is down, limits must not make the service unusable. */
  async #either<Result>(work: (store: RedisStore | MemoryStore) => Promise<Result>): Promise<Result> {
    if (!this.cluster.isShared) return work(this.#local);
    try {
      return await work(await this.#open());
    } catch {
      // Opened again the next time: the store would remember a script that could not be loaded.
      this.#shared = undefined;
      return work(this.#local);
    }
  }

  #open(): Promise<RedisStore> {
    this.#shared ??= this.#connect();
    return this.#shared;
  }

  async #connect(): Promise<RedisStore> {
    const sendCommand = (...words: string[]) => this.cluster.command(words) as Promise<RedisReply>;
    const store = new RedisStore({ sendCommand, prefix: this.#prefix });
    if (this.#options !== undefined) await store.init(this.#options);
    return store;
  }
}

async function addEach(store: MemoryStore, key: string, count: number): Promise<number> {
  let total = 0;
  for (let n = 0; n < count; n += 1) total = (await store.increment(key)).totalHits;
  return total;
}
