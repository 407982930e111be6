/** Work that returns by itself: cursors are written behind, old messages are removed. */
import type { Clock } from '../utils/clock';
import { type Cursors, WRITE_BEHIND_INTERVAL_MS } from './cursors';
import type { Delivery } from './delivery';
import type { Logger } from './logger';
import type { Store } from './storage/contract';

const DAY_MS = 86_400_000;
const SWEEP_INTERVAL_MS = 3_600_000;
/** Messages removed by one transaction: small, so that sends between two are not held up. */
const SWEEP_CHUNK = 500;

export interface UpkeepParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly delivery: Delivery;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly retentionDays: number;
}

export class Upkeep {
  #timers: NodeJS.Timeout[] = [];
  #isStopped = false;
  #sweeping: Promise<void> | undefined;

  constructor(private readonly parts: UpkeepParts) {}

  start(): void {
    this.#timers = [
      setInterval(() => void this.writeCursors(), WRITE_BEHIND_INTERVAL_MS),
      setInterval(() => void this.sweep(), SWEEP_INTERVAL_MS),
    ];
    for (const timer of this.#timers) timer.unref();
    void this.sweep();
  }

  /** Writes the cursors of all devices as they are now. */
  async writeCursors(): Promise<void> {
    this.parts.delivery.collectPositions();
    await this.parts.cursors.flush();
  }

  /** Removes what is older than the retention; one sweep at a time. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweepOnce().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async #sweepOnce(): Promise<void> {
    const before = this.parts.clock.now() - this.parts.retentionDays * DAY_MS;
    let total = 0;
    try {
      let removed = SWEEP_CHUNK;
      while (removed === SWEEP_CHUNK && !this.#isStopped) {
        removed = await this.parts.store.prune(before, SWEEP_CHUNK);
        total += removed;
      }
      if (total > 0) this.parts.logger.info({ removed: total }, 'messages beyond the retention removed');
    } catch (error) {
      this.parts.logger.error({ err: error, removed: total }, 'the retention sweep failed, the next one goes on');
    }
  }

  /** Stops the timers and writes the cursors a last time. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#sweeping;
    await this.writeCursors();
  }
}
