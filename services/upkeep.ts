/** Periodic work: writes cursors and the audit log, sends and expires what is due, removes old messages. */
import { type Clock, fromIsoTime, type Timer } from '../utils/clock';
import { SingleFlight } from '../utils/single-flight';
import { destinationOf } from '../utils/topic-names';
import type { AuditLog } from './audit-log';
import type { Connections } from './delivery/connections';
import { type Cursors, WRITE_BEHIND_INTERVAL_MS } from './delivery/cursors';
import type { Delivery } from './delivery/delivery';
import type { Logger } from './observability/logger';
import type { Metrics } from './observability/metrics';
import type { MayBeSent, Store } from './storage/contract';

const DAY_MS = 86_400_000;
const SWEEP_INTERVAL_MS = 3_600_000;
/** Messages removed by one transaction: few, so that sends in between are not held up. */
const SWEEP_CHUNK = 500;
/** How late a scheduled message or the notice of an expiry may be. A look costs a read while nothing is due. */
const DUE_INTERVAL_MS = 250;
/** Few as well: a transaction of 100 takes a few milliseconds. */
const DUE_CHUNK = 100;
const REMOVE_INTERVAL_MS = 1_000;
/** Connected devices whose rows are read together. */
const MARKED_PER_TURN = 500;
/** How late a gap that is due for another attempt may be looked at. */
const GAPS_INTERVAL_MS = 250;
/** How late a message, or the end of a membership, may be noticed when the frame of the other node was lost. */
const COMPARE_INTERVAL_MS = 3_000;
/**
 * An append may happen this long after the time of its message, including the difference between the clocks of nodes.
 */
const COMPARE_OVERLAP_MS = 30_000;

export interface UpkeepParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly connections: Pick<Connections, 'all'>;
  readonly audit: AuditLog;
  readonly delivery: Delivery;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly retentionDays: number;
  /** Is the sender of a scheduled message still allowed to send it? */
  readonly mayBeSent: MayBeSent;
}

export class Upkeep {
  #timers: Timer[] = [];
  #isStopped = false;
  readonly #sweeps = new SingleFlight(() => this.#sweepOnce());
  readonly #sends = new SingleFlight(() =>
    this.#attempt('what is due could not be sent', () => this.#inChunks(() => this.#sendDue())),
  );
  /** Separate from the sends: however many are due, expired messages are removed in time. */
  readonly #expiries = new SingleFlight(() =>
    this.#attempt('what has expired could not be removed', () => this.#inChunks(() => this.#expire())),
  );
  readonly #removals = new SingleFlight(() => this.#removeOnce());
  readonly #comparisons = new SingleFlight(() => this.#compareOnce());
  /** Separate from the comparisons: however many connections are checked, heads are compared in time. */
  readonly #checks = new SingleFlight(() => this.#checkOnce());
  /** Everything up to this time has been compared. */
  #comparedAt: number;
  #membershipsComparedAt: number;

  constructor(private readonly parts: UpkeepParts) {
    this.#comparedAt = parts.clock.now();
    this.#membershipsComparedAt = parts.clock.now();
  }

  start(): void {
    const { clock, audit } = this.parts;
    this.#timers = [
      clock.every(WRITE_BEHIND_INTERVAL_MS, () => void this.writeCursors()),
      clock.every(WRITE_BEHIND_INTERVAL_MS, () => void audit.flush()),
      clock.every(SWEEP_INTERVAL_MS, () => void this.sweep()),
      clock.every(DUE_INTERVAL_MS, () => void this.handleDue()),
      clock.every(REMOVE_INTERVAL_MS, () => void this.removeDeleted()),
      clock.every(COMPARE_INTERVAL_MS, () => void this.compareHeads()),
      clock.every(COMPARE_INTERVAL_MS, () => void this.checkFollowing()),
      clock.every(GAPS_INTERVAL_MS, () => this.parts.delivery.healGaps()),
    ];
    void this.sweep();
    void this.handleDue();
    void this.removeDeleted();
  }

  /** Sends the scheduled messages that are due and removes the expired ones; one run of each at a time. */
  async handleDue(): Promise<void> {
    await Promise.all([this.#sends.run(), this.#expiries.run()]);
  }

  async #attempt(failure: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.parts.logger.error({ err: error }, `${failure}, retrying`);
    }
  }

  async #inChunks(work: () => Promise<number>): Promise<void> {
    while (!this.#isStopped && (await work()) > 0);
  }

  async #sendDue(): Promise<number> {
    const { taken, entries, refused } = await this.parts.store.schedule.appendDue(DUE_CHUNK, this.parts.mayBeSent);
    for (const { draft } of refused) this.parts.audit.noteDropped(draft);
    for (const { ref, topic, scheduledFor } of entries) {
      if (ref !== undefined || scheduledFor === undefined) continue;
      this.parts.metrics.sends[destinationOf(topic)].inc();
      const lateMs = this.parts.clock.now() - fromIsoTime(scheduledFor);
      this.parts.metrics.scheduleDelay.observe(Math.max(0, lateMs) / 1_000);
    }
    await this.parts.delivery.emitAppended(entries);
    return taken;
  }

  async #expire(): Promise<number> {
    const { taken, expired } = await this.parts.store.log.expire(DUE_CHUNK);
    await this.parts.delivery.emitExpired(expired);
    return taken;
  }

  /** Finds messages of other nodes whose frames were lost; one look at a time. */
  compareHeads(): Promise<void> {
    return this.#comparisons.run();
  }

  async #compareOnce(): Promise<void> {
    const { store, clock, delivery } = this.parts;
    // Also on a single node: it may have stored what it could not emit, and another node may join at any time.
    if (!store.isShared) return;
    const now = clock.now();
    await this.#attempt('heads could not be compared', async () => {
      delivery.catchUpTo(await store.recent.heads(Math.min(now, this.#comparedAt) - COMPARE_OVERLAP_MS));
      this.#comparedAt = now;
    });
  }

  /** Finds changes of membership by other nodes whose frames were lost; one look at a time. */
  checkFollowing(): Promise<void> {
    return this.#checks.run();
  }

  async #checkOnce(): Promise<void> {
    const { store, clock, delivery } = this.parts;
    if (!store.isShared) return;
    const now = clock.now();
    await this.#attempt('memberships could not be compared', async () => {
      const since = Math.min(now, this.#membershipsComparedAt) - COMPARE_OVERLAP_MS;
      delivery.compareMemberships(await store.recent.memberships(since));
      this.#membershipsComparedAt = now;
      await delivery.checkFollowing();
    });
  }

  /** Writes the cursors of all devices as they are now. */
  async writeCursors(): Promise<void> {
    this.parts.delivery.collectPositions();
    await this.parts.cursors.flush();
  }

  /** Removes what is older than the retention; one sweep at a time. */
  sweep(): Promise<void> {
    return this.#sweeps.run();
  }

  async #sweepOnce(): Promise<void> {
    const { store, audit } = this.parts;
    const before = this.parts.clock.now() - this.parts.retentionDays * DAY_MS;
    await this.#attempt('old messages could not be removed', () => this.#prune(before));
    await this.#attempt('old answers could not be forgotten', () => this.#inChunks(() => store.keys.forget(DUE_CHUNK)));
    await this.#attempt('silent devices could not be forgotten', () => this.#forgetDevices(before));
    await this.#attempt('the audit log could not be shortened', () => this.#inChunks(() => audit.prune(DUE_CHUNK)));
    // Of what another node has removed a frame tells, which may be lost.
    this.parts.delivery.recountHere();
  }

  async #prune(before: number): Promise<void> {
    let total = 0;
    let removed = SWEEP_CHUNK;
    while (removed === SWEEP_CHUNK && !this.#isStopped) {
      removed = await this.parts.store.log.prune(before, SWEEP_CHUNK);
      total += removed;
      if (removed > 0) this.parts.delivery.recount();
    }
    if (total > 0) this.parts.logger.info({ removed: total }, 'messages older than the retention removed');
  }

  /** A connected device counts as seen, however long ago it connected. */
  async #forgetDevices(before: number): Promise<void> {
    const { connections, cursors, store } = this.parts;
    let marked = 0;
    for (const { userId, device } of connections.all()) {
      cursors.seen(userId, device);
      marked += 1;
      if (marked % MARKED_PER_TURN === 0) await cursors.flush();
    }
    await cursors.flush();
    await this.#inChunks(() => store.devices.forgetSilent(before, DUE_CHUNK));
  }

  /** Removes what deleted topics, forgotten devices and interrupted erasures have left behind; one run at a time. */
  removeDeleted(): Promise<void> {
    return this.#removals.run();
  }

  #removeOnce(): Promise<void> {
    return this.#attempt('deleted topics and users could not be removed from the store yet', async () => {
      while (!this.#isStopped && (await this.parts.store.removals.advance()));
    });
  }

  /** Stops the timers, and writes cursors and audit entries a last time. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers) timer.cancel();
    await this.#sweeps.idle();
    await this.#sends.idle();
    await this.#expiries.idle();
    await this.#removals.idle();
    await this.#comparisons.idle();
    await this.#checks.idle();
    await Promise.all([this.writeCursors(), this.parts.audit.flush()]);
  }
}
