/**
 * What connections of every transport have in common: places per user, the greeting, the one wrapper round client
 * events, and the end.
 */
import { randomUUID } from 'node:crypto';
import type { Balance, Lender } from '../../utils/balance';
import type { Caller } from '../../utils/caller';
import { type Clock, type Timer, toIsoTime } from '../../utils/clock';
import type { FrameOf } from '../../utils/cluster-protocol';
import type { Config } from '../../utils/config';
import { AppError, ERROR_KINDS, type Problem, refuseField, toProblem } from '../../utils/errors';
import type { Closing, ClosingCode, Invitation } from '../../utils/protocol';
import type { HeapGuard } from '../admission/heap-guard';
import { type Incoming, ORDINARY_BYTES } from '../admission/incoming';
import type { ReadTurns } from '../admission/read-turns';
import type { Cluster } from '../cluster/contract';
import type { FrameFor } from '../cluster/frames';
import type { Cursors } from '../delivery/cursors';
import type { Delivery } from '../delivery/delivery';
import { describeFailure } from '../observability/describe-failure';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';
import type { Presence } from '../presence/presence';
import type { Roster } from '../presence/roster';
import type { Connection, Connections } from './connections';
import { BURST_SECONDS, EventLimit, type Verdict } from './event-limit';

/** Reconnecting clients are spread over this time after a stop. */
const RECONNECT_SPREAD_MS = ERROR_KINDS.going_away.retryAfterSeconds * 1_000;
const EXPIRY_CHECK_INTERVAL_MS = 1_000;
const EXPIRY_WARNING_SECONDS = 60;
/** Events that cost nothing, for each of SOCKET_EVENTS_PER_SECOND. */
const FREE_EVENTS_PER_EVENT = 20;
/** Events of a connection that wait for the one before them: as many as may come at once, and no fewer than these. */
const MIN_WAITING_EVENTS = 1_000;

export type EventReply = { readonly ok: true } | { readonly ok: false; readonly error: Problem };

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
  /** Why the token of a caller is refused by now, in a sentence; `undefined` while it is good. */
  readonly refusalOf: (caller: Caller) => string | undefined;
}

export class Sessions implements Lender {
  /** False until open() and again after close(): nobody may come in. */
  isOpen = false;
  readonly #limits = new WeakMap<Connection, EventLimit>();
  /** What is free is so up to a rate that no client reaches by acknowledging what it gets. */
  readonly #freeLimits = new WeakMap<Connection, EventLimit>();
  readonly #warned = new WeakSet<Connection>();
  /** The event of a connection that is being answered: the next one waits, so answers keep the order of the events. */
  readonly #running = new WeakMap<Connection, Promise<unknown>>();
  /** Those that the service has ended: what their clients had sent ahead is not done any more. */
  readonly #closed = new WeakSet<Connection>();
  /** How many of a connection are being answered or wait. */
  readonly #counts = new WeakMap<Connection, number>();
  #eventsUnderWay = 0;
  #expiryTimer: Timer | undefined;

  constructor(private readonly parts: SessionParts) {}

  get balance(): Balance {
    return { eventsUnderWay: this.#eventsUnderWay };
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
    const reason = `The user has as many connections as MAX_CONNECTIONS_PER_USER allows: ${config.MAX_CONNECTIONS_PER_USER}.`;
    if (config.TOO_MANY === 'refuse') {
      metrics.connectionsRefused.user.inc();
      throw new AppError('too_many_connections', reason);
    }
    const [oldest] = connections.ofUser(userId);
    if (oldest !== undefined) this.end(oldest, 'too_many_connections', `${reason} A newer one took this place.`);
  }

  /** Lists a connection, greets it and brings it up to date; when the user has no place left it is closed instead. */
  enter(connection: Connection): void {
    const { config, clock, delivery, roster, refusalOf } = this.parts;
    // Between its check and this moment: nobody would close it any more.
    const refused = refusalOf(connection.caller);
    if (refused !== undefined) {
      this.end(connection, 'revoked', refused);
      return;
    }
    try {
      this.makeRoom(connection.userId);
    } catch (error) {
      const refusal = this.refusal(error);
      this.end(connection, 'too_many_connections', refusal.message);
      return;
    }
    const { SOCKET_EVENTS_PER_SECOND: perSecond } = config;
    this.#limits.set(connection, new EventLimit(perSecond, clock.steady()));
    this.#freeLimits.set(connection, new EventLimit(perSecond * FREE_EVENTS_PER_EVENT, clock.steady()));
    roster.arrived(connection);
    greet(connection);
    void this.#catchUp(connection, () => delivery.attach(connection));
  }

  /** Lets the connections of a user, on all nodes, follow a topic that the user has joined, or was added to. */
  follow(userId: string, topic: string, start: number, invitation?: Invitation): void {
    const followed = { userId, topic, start, ...(invitation === undefined ? {} : { invitation }) };
    this.#followHere(followed);
    this.parts.cluster.publish({ kind: 'follow', ...followed });
  }

  #followHere({ userId, topic, invitation }: Omit<FrameOf<'follow'>, 'kind'>): void {
    for (const connection of this.parts.connections.ofUser(userId)) {
      if (invitation !== undefined) connection.send('topic:joined', { name: topic, ...invitation });
      void this.#catchUp(connection, () => this.parts.delivery.follow(connection, topic));
    }
  }

  /** Ends it: the user has left the topic. */
  unfollow(userId: string, topic: string): void {
    this.#unfollowHere(userId, topic);
    this.parts.cluster.publish({ kind: 'unfollow', userId, topic });
  }

  /** Ends it for everybody, on all nodes: the topic is gone. */
  unfollowAll(topic: string): void {
    this.#unfollowAllHere(topic);
    this.parts.cluster.publish({ kind: 'unfollow-all', topic });
  }

  #unfollowAllHere(topic: string): void {
    this.parts.delivery.drop(topic).catch((error: unknown) => {
      this.parts.logger.error({ err: error, topic }, 'a deleted topic could not be left');
    });
  }

  #unfollowHere(userId: string, topic: string): void {
    for (const connection of this.parts.connections.ofUser(userId)) this.parts.delivery.unfollow(connection, topic);
  }

  /** Closes the connections of a user here whose tokens are refused by now. @returns how many. */
  closeRevoked(userId: string): number {
    return this.#closeRefused(this.parts.connections.ofUser(userId));
  }

  /** The same for everybody: keys that tokens were checked with may be gone. */
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

  /** Does what another node asks for. */
  receive(frame: FrameFor<'sessions'>): void {
    if (frame.kind === 'follow') this.#followHere(frame);
    else if (frame.kind === 'unfollow') this.#unfollowHere(frame.userId, frame.topic);
    else if (frame.kind === 'unfollow-all') this.#unfollowAllHere(frame.topic);
    else if (frame.kind === 'disconnect') this.#disconnectHere(frame.userId, frame.code, frame);
    else this.#renewHere(frame.userId);
  }

  async #catchUp(connection: Connection, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.parts.logger.error({ err: error, userId: connection.userId }, 'catch-up failed, the connection is closed');
      this.#close(
        connection,
        { code: 'going_away', reason: 'The store cannot be read.', retryInMs: RECONNECT_SPREAD_MS },
        { isFinal: false },
      );
    }
  }

  /** Takes a connection that has ended, or is about to, off every list; once more does nothing. */
  leave(connection: Connection): void {
    const { cursors, delivery, presence, roster, cluster, clock, reads } = this.parts;
    delivery.detach(connection);
    reads.leave(connection);
    presence.unwatch(connection);
    // One reading of the clock: the lobby and the status tell the same time.
    const now = clock.now();
    if (roster.departed(connection, now) === true) cursors.sawLast(connection.userId, now);
    if (cluster.isShared) cursors.flushSoon();
  }

  /**
   * The one wrapper round every client event: whatever an operation throws ends in the reply.
   * @param options.price how many events it counts as; what is free is done whatever else there is, as long as it does
   * not come in a flood. `bytes`: what is kept of it until it is answered.
   */
  async handle(
    connection: Connection,
    operation: () => object | Promise<object>,
    { price, bytes }: { price: number; bytes: number },
  ): Promise<EventReply> {
    const isFree = price === 0 && this.#isWithinFree(connection);
    try {
      if (!isFree) this.#limitEvents(connection, Math.max(1, price));
      if (!this.isOpen) throw new AppError('going_away', 'The service is stopping.');
      // What is acknowledged frees memory, whatever else there is.
      if (!isFree) this.parts.heap.assertRoom();
      return { ok: true, ...(await (isFree ? operation() : this.#inTurn(connection, operation, bytes))) };
    } catch (thrown) {
      const error = this.#problemOf(thrown, connection);
      // Only what is accepted is free: a flood of acknowledgements of nothing would cost its sender nothing.
      if (isFree && error.status === 400) this.countEvent(connection);
      return { ok: false, error };
    }
  }

  /**
   * Judges a frame before anything is made of its bytes, for what can be known without reading it.
   * @returns the refusal of one that is not to be read; it was counted as an event.
   */
  refuseUnread(connection: Connection, bytes: number): Problem | undefined {
    if (bytes <= ORDINARY_BYTES) return undefined;
    try {
      this.parts.heap.assertRoom();
      this.#limitBytes(connection, bytes);
      return undefined;
    } catch (thrown) {
      this.countEvent(connection);
      return this.#problemOf(thrown, connection);
    }
  }

  #limitBytes(connection: Connection, bytes: number): void {
    const verdict = this.parts.incoming.judge(connection.caller, bytes);
    if (verdict === 'accepted') return;
    const refusal = this.parts.incoming.refusal();
    if (verdict === 'abusive') this.end(connection, 'rate_limited', refusal.message);
    throw refusal;
  }

  async #inTurn(connection: Connection, operation: () => object | Promise<object>, bytes: number): Promise<object> {
    const release = this.#takeWaiting(connection, bytes);
    const before = this.#running.get(connection);
    // What a client has sent before it left is done.
    const begin = () => {
      if (this.#closed.has(connection)) throw new AppError('going_away', 'The connection has ended.');
      return operation();
    };
    const mine = before === undefined ? startNow(operation) : before.then(begin, begin);
    this.#running.set(connection, mine);
    try {
      return await mine;
    } finally {
      release();
      if (this.#running.get(connection) === mine) this.#running.delete(connection);
    }
  }

  /** @throws AppError `rate_limited` when as much of the connection or its user waits as may. */
  #takeWaiting(connection: Connection, bytes: number): () => void {
    const count = this.#counts.get(connection) ?? 0;
    const bound = Math.max(MIN_WAITING_EVENTS, this.parts.config.SOCKET_EVENTS_PER_SECOND * BURST_SECONDS);
    if (count >= bound) {
      this.parts.metrics.rateLimited.events.inc();
      throw new AppError('rate_limited', `${bound} events of this connection wait for their answers.`);
    }
    const release = this.parts.incoming.take(connection.caller, bytes);
    this.#counts.set(connection, count + 1);
    this.#eventsUnderWay += 1;
    return () => {
      release();
      this.#counts.set(connection, (this.#counts.get(connection) ?? 0) - 1);
      this.#eventsUnderWay -= 1;
    };
  }

  /** Counts something that is no event, like a ping frame, and ends who floods. */
  countEvent(connection: Connection): void {
    const verdict = this.#judge(connection);
    if (verdict === 'abusive') this.end(connection, 'rate_limited', 'Too many frames.');
  }

  #isWithinFree(connection: Connection): boolean {
    const verdict = this.#freeLimits.get(connection)?.judge(1, this.parts.clock.steady()) ?? 'accepted';
    return verdict === 'accepted';
  }

  #judge(connection: Connection, price = 1): Verdict {
    const verdict = this.#limits.get(connection)?.judge(price, this.parts.clock.steady()) ?? 'accepted';
    if (verdict !== 'accepted') this.parts.metrics.rateLimited.events.inc();
    return verdict;
  }

  #limitEvents(connection: Connection, price: number): void {
    const verdict = this.#judge(connection, price);
    if (verdict === 'accepted') return;
    const { SOCKET_EVENTS_PER_SECOND: perSecond } = this.parts.config;
    const reason = `More events per second than SOCKET_EVENTS_PER_SECOND allows: ${perSecond}.`;
    if (verdict === 'abusive') this.end(connection, 'rate_limited', reason);
    throw new AppError('rate_limited', reason);
  }

  /** Counts a refusal, and logs it when it was a fault of ours. */
  refusal(thrown: unknown): AppError {
    return this.#refuse(thrown, undefined);
  }

  #refuse(thrown: unknown, requestId: string | undefined): AppError {
    const error = describeFailure(thrown);
    this.parts.metrics.refusals.inc({ code: error.code });
    if (error.code === 'internal') this.parts.logger.error({ err: error.cause, requestId }, 'a client event failed');
    return error;
  }

  /** An event has no id unless there is a fault to be looked for in the log. */
  #problemOf(thrown: unknown, { origin }: Connection): Problem {
    const requestId = randomUUID();
    const error = this.#refuse(thrown, requestId);
    return toProblem(error, error.code === 'internal' ? { origin, requestId } : { origin });
  }

  /** Cuts a connection that does not read what is sent to it; the connection frees its buffer itself. */
  cutSlow(connection: Connection): void {
    this.parts.metrics.slowConsumers.inc();
    this.parts.logger.warn({ userId: connection.userId, connectionId: connection.id }, 'slow consumer cut');
    this.#close(
      connection,
      { code: 'slow_consumer', reason: 'Too many unsent bytes.', retryInMs: RECONNECT_SPREAD_MS },
      { isFinal: false },
    );
    connection.terminate();
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
   * Lets a connection go on with a newer token of the same user.
   * @throws AppError `forbidden` for a token of somebody else.
   */
  refresh(connection: Connection, caller: Caller): void {
    if (caller.userId !== connection.userId) throw refuseField('forbidden', 'token', 'belongs to another user');
    connection.caller = caller;
    this.#warned.delete(connection);
  }

  /** Closes a connection for good: its client should not come back by itself. Nothing is delivered afterwards. */
  end(connection: Connection, code: ClosingCode, reason: string): void {
    this.#close(connection, { code, reason, retryInMs: null }, { isFinal: true });
  }

  #close(connection: Connection, closing: Closing, options: { isFinal: boolean }): void {
    if (connection.isOpen) this.parts.metrics.closings[closing.code].inc();
    this.#closed.add(connection);
    this.leave(connection);
    connection.close(closing, options);
  }

  /**
   * Closes connections of a user on all nodes, all of them or those of one device. Who logs out has left the lobby at
   * once. @returns how many; on other nodes as far as they have told and can be told.
   */
  disconnect(userId: string, code: ClosingCode, options: { reason: string; device?: string }): number {
    const { roster, cluster } = this.parts;
    const elsewhere = cluster.live === 'ok' ? roster.countElsewhere(userId, options.device) : 0;
    const here = this.#disconnectHere(userId, code, options);
    cluster.publish({ kind: 'disconnect', userId, code, ...options });
    return here + elsewhere;
  }

  #disconnectHere(
    userId: string,
    code: ClosingCode,
    { reason, device }: { reason: string; device?: string | undefined },
  ): number {
    const all = this.parts.connections.ofUser(userId);
    const chosen = device === undefined ? all : all.filter((connection) => connection.device === device);
    for (const connection of chosen) this.end(connection, code, reason);
    if (code === 'logged_out') this.parts.presence.loggedOut(userId);
    return chosen.length;
  }

  /**
   * Does something to what is kept of a user while none of the user's connections stands on it; afterwards they are
   * closed, and their clients come back to what is there then.
   */
  async renew<Result>(userId: string, work: () => Promise<Result>): Promise<Result> {
    const connections = this.#leaveAll(userId);
    try {
      return await work();
    } finally {
      // Who has come in between stands on what is gone.
      this.#closeErased([...connections, ...this.#leaveAll(userId)]);
      // What a connection of another node has written meanwhile was of a device that is not known any more.
      this.parts.cluster.publish({ kind: 'renew', userId });
    }
  }

  #renewHere(userId: string): void {
    const connections = this.#leaveAll(userId);
    this.parts.cursors.forget(userId);
    this.#closeErased(connections);
  }

  #leaveAll(userId: string): readonly Connection[] {
    const connections = this.parts.connections.ofUser(userId);
    for (const connection of connections) this.leave(connection);
    return connections;
  }

  #closeErased(connections: readonly Connection[]): void {
    const closing = { code: 'going_away', reason: 'The data of this user was erased.', retryInMs: 0 } as const;
    for (const connection of connections) this.#close(connection, closing, { isFinal: false });
  }

  /** Tells every client that the service goes away, with reconnect times spread, and closes. */
  close(): void {
    this.#expiryTimer?.cancel();
    this.isOpen = false;
    for (const connection of [...this.parts.connections.all()]) {
      this.#close(connection, goingAway(), { isFinal: false });
    }
  }
}

/** What an operation throws at once belongs to its promise: whatever was taken for it is given back there. */
async function startNow(operation: () => object | Promise<object>): Promise<object> {
  return operation();
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
