/** Connections of every transport, from the greeting to the end: places per user, tokens that expire, closing. */
import type { Balance, Lender } from '../../utils/balance';
import type { Caller } from '../../utils/caller';
import { type Clock, type Timer, toIsoTime } from '../../utils/clock';
import type { Config } from '../../utils/config';
import { AppError, ERROR_KINDS, refuseField } from '../../utils/errors';
import type { Closing, ClosingCode } from '../../utils/protocol';
import type { HeapGuard } from '../admission/heap-guard';
import type { Incoming } from '../admission/incoming';
import type { ReadTurns } from '../admission/read-turns';
import type { Cluster } from '../cluster/contract';
import type { Connection, Connections } from '../delivery/connections';
import type { Cursors } from '../delivery/cursors';
import type { Delivery } from '../delivery/delivery';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';
import type { Presence } from '../presence/presence';
import type { Roster } from '../presence/roster';
import { EventGate } from './event-gate';
import { Refusals } from './refusals';

/** Reconnecting clients are spread over this time after a stop. */
const RECONNECT_SPREAD_MS = ERROR_KINDS.going_away.retryAfterSeconds * 1_000;
const EXPIRY_CHECK_INTERVAL_MS = 1_000;
const EXPIRY_WARNING_SECONDS = 60;

export interface SessionParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly connections: Connections;
  readonly cursors: Cursors;
  readonly delivery: Delivery;
  readonly presence: Presence;
  readonly roster: Roster;
  readonly cluster: Cluster;
  readonly heap: HeapGuard;
  readonly incoming: Incoming;
  readonly reads: Pick<ReadTurns, 'leave'>;
  /** Why the token of a caller is refused by now, as a sentence; `undefined` while it is valid. */
  readonly refusalOf: (caller: Caller) => string | undefined;
}

export class Sessions implements Lender {
  /** False until open() and again after closeAll(): no connection is let in. */
  isOpen = false;
  readonly refusals: Refusals;
  readonly events: EventGate;
  readonly #warned = new WeakSet<Connection>();
  #expiryTimer: Timer | undefined;

  constructor(private readonly parts: SessionParts) {
    this.refusals = new Refusals(parts);
    this.events = new EventGate({
      ...parts,
      refusals: this.refusals,
      isOpen: () => this.isOpen,
      end: (connection, code, reason) => this.end(connection, code, reason),
    });
  }

  get balance(): Balance {
    return { eventsUnderWay: this.events.queue.underWay };
  }

  /** Lets connections in from now on, and starts the timer. */
  open(): void {
    this.isOpen = true;
    this.#expiryTimer = this.parts.clock.every(EXPIRY_CHECK_INTERVAL_MS, () => this.#closeExpired());
  }

  /** @throws AppError `too_many_connections` when the user has as many connections as allowed. */
  makeRoom(userId: string): void {
    const { config, connections, metrics } = this.parts;
    if (connections.countOf(userId) < config.MAX_CONNECTIONS_PER_USER) return;
    const reason = `This user has reached the limit of open connections (MAX_CONNECTIONS_PER_USER: ${config.MAX_CONNECTIONS_PER_USER}).`;
    if (config.TOO_MANY === 'refuse') {
      metrics.connectionsRefused.user.inc();
      throw new AppError('too_many_connections', reason);
    }
    const [oldest] = connections.ofUser(userId);
    if (oldest !== undefined)
      this.end(oldest, 'too_many_connections', `${reason} A newer connection replaced this one.`);
  }

  /** Lists a connection, greets it and brings it up to date; closes it instead when the user has no place left. */
  enter(connection: Connection): void {
    const { delivery, roster, refusalOf } = this.parts;
    // Revoked since it was verified: nothing else would close the connection.
    const refused = refusalOf(connection.caller);
    if (refused !== undefined) {
      this.end(connection, 'revoked', refused);
      return;
    }
    try {
      this.makeRoom(connection.userId);
    } catch (error) {
      const refusal = this.refusals.count(error);
      this.end(connection, 'too_many_connections', refusal.message);
      return;
    }
    this.events.limit(connection);
    roster.arrived(connection);
    greet(connection);
    void this.catchUp(connection, () => delivery.attach(connection));
  }

  /** Catches up; a connection that cannot be brought up to date is closed, it would have a gap. */
  async catchUp(connection: Connection, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.parts.logger.error({ err: error, userId: connection.userId }, 'catch-up failed, closing the connection');
      this.close(
        connection,
        { code: 'going_away', reason: 'The store cannot be read.', retryInMs: RECONNECT_SPREAD_MS },
        { isFinal: false },
      );
    }
  }

  /** Takes a connection that has ended, or is about to, off every list. Idempotent. */
  leave(connection: Connection): void {
    const { cursors, delivery, presence, roster, cluster, clock, reads } = this.parts;
    delivery.detach(connection);
    reads.leave(connection);
    presence.unwatch(connection);
    // One reading of the clock, so that presence and the status agree.
    const now = clock.now();
    if (roster.departed(connection, now) === true) cursors.sawLast(connection.userId, now);
    if (cluster.isShared) cursors.flushSoon();
  }

  /** Cuts a connection whose client does not read, and frees its buffer. */
  cutSlow(connection: Connection): void {
    this.parts.metrics.slowConsumers.inc();
    this.parts.logger.warn({ userId: connection.userId, connectionId: connection.id }, 'slow consumer cut');
    this.close(
      connection,
      { code: 'slow_consumer', reason: 'Too many unsent bytes.', retryInMs: RECONNECT_SPREAD_MS },
      { isFinal: false },
    );
    connection.terminate();
  }

  /** Closes the connections of a user on this node whose tokens are refused by now. @returns how many. */
  closeRevoked(userId: string): number {
    return this.#closeRefused(this.parts.connections.ofUser(userId));
  }

  /** The same for all users: keys that verified their tokens may be gone. */
  closeWithdrawn(): void {
    this.#closeRefused([...this.parts.connections.all()]);
  }

  #closeRefused(connections: readonly Connection[]): number {
    let count = 0;
    for (const connection of connections) {
      const refused = this.parts.refusalOf(connection.caller);
      if (refused === undefined) continue;
      this.end(connection, 'revoked', refused);
      count += 1;
    }
    return count;
  }

  #closeExpired(): void {
    const nowSeconds = this.parts.clock.now() / 1000;
    for (const connection of [...this.parts.connections.all()]) {
      const { expiresAt = Number.POSITIVE_INFINITY } = connection.caller;
      if (expiresAt <= nowSeconds) this.end(connection, 'token_expired', 'The token has expired.');
      else if (expiresAt - EXPIRY_WARNING_SECONDS <= nowSeconds) this.#warn(connection, expiresAt);
    }
  }

  #warn(connection: Connection, expiresAt: number): void {
    if (this.#warned.has(connection)) return;
    this.#warned.add(connection);
    connection.send('auth:expiring', { expiresAt: toIsoTime(expiresAt * 1000) });
  }

  /**
   * Gives a connection a newer token of the same user.
   * @throws AppError `forbidden` for a token of another user.
   */
  refresh(connection: Connection, caller: Caller): void {
    if (caller.userId !== connection.userId)
      throw refuseField('forbidden', 'token', 'belongs to another user: reconnect to change users');
    connection.caller = caller;
    this.#warned.delete(connection);
  }

  /** Closes a connection for good: its client should not reconnect by itself. Nothing is delivered afterwards. */
  end(connection: Connection, code: ClosingCode, reason: string): void {
    this.close(connection, { code, reason, retryInMs: null }, { isFinal: true });
  }

  /** Closes a connection, and takes it off every list. `isFinal`: its client should not reconnect by itself. */
  close(connection: Connection, closing: Closing, options: { isFinal: boolean }): void {
    if (connection.isOpen) this.parts.metrics.closings[closing.code].inc();
    this.events.queue.end(connection);
    this.leave(connection);
    connection.close(closing, options);
  }

  /** Sends every client `going_away`, with reconnect times spread, and closes. */
  closeAll(): void {
    this.#expiryTimer?.cancel();
    this.isOpen = false;
    for (const connection of [...this.parts.connections.all()]) {
      this.close(connection, goingAway(), { isFinal: false });
    }
  }
}

function goingAway(): Closing {
  const retryInMs = Math.round(Math.random() * RECONNECT_SPREAD_MS);
  return { code: 'going_away', reason: 'The service is stopping.', retryInMs };
}

function greet(connection: Connection): void {
  const { id: socketId, userId, device, caller } = connection;
  const expiresAt = caller.expiresAt === undefined ? null : toIsoTime(caller.expiresAt * 1000);
  connection.send('authenticated', { userId, socketId, device, expiresAt });
  connection.send('connected', { message: 'Successfully connected to WebSocket', userId, socketId });
}
