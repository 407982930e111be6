/**
 * The other nodes, reached through one Redis channel. A node receives its own frames too: as long as its heartbeats
 * come back, what it publishes reaches every subscriber.
 */
import { type KeyObject, randomUUID } from 'node:crypto';
import { createClient } from '@redis/client';
import type { Clock, Timer } from '../../utils/clock';
import { type ClusterFrame, decodeFrame, encodeFrame } from '../../utils/cluster-protocol';
import { withDeadline } from '../../utils/deadline';
import { createFrameSignature, type FrameSignature } from '../../utils/frame-signature';
import { hideCredentials } from '../../utils/hide-credentials';
import type { Logger } from '../observability/logger';
import { type Cluster, ClusterOpenError, type FrameListener, type Live } from './contract';

/** Two missing heartbeats, and some delay. */
const ECHO_TIMEOUT_MS = 1_500;
const CONNECT_TIMEOUT_MS = 2_000;
/** Start succeeds or fails within this time. */
const OPEN_TIMEOUT_MS = 5_000;
/** Every heartbeat brings both connections an answer. One that receives nothing hangs, and is replaced. */
const SILENCE_TIMEOUT_MS = 3_000;
const COMMAND_TIMEOUT_MS = 1_000;
const MAX_RECONNECT_DELAY_MS = 1_000;
/** Bounds on frames on their way to Redis, and on their characters; beyond them frames are dropped, not kept. */
const MAX_FRAMES_IN_FLIGHT = 10_000;
const MAX_LENGTH_IN_FLIGHT = 16 * 1024 * 1024;
const STATE_CHECK_INTERVAL_MS = 250;
/** How many kinds of unknown frames are logged: publishers must not be able to fill the log. */
const MAX_FOREIGN = 20;

export interface RedisClusterParts {
  readonly url: string;
  /** Names the service, as others may use the same Redis. */
  readonly name: string;
  /** Signs frames; frames without its signature are refused. Absent: all frames are trusted. */
  readonly secret?: KeyObject | undefined;
  /** Must Redis be reachable at start? */
  readonly isRequired: boolean;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Characters on their way to Redis beyond which recoverable frames are dropped; 16 Mi by default. */
  readonly maxLengthInFlight?: number;
}

export class RedisCluster implements Cluster {
  readonly node: string;
  readonly isShared = true;
  readonly prefix: string;
  #publisher: Client;
  readonly #subscriber: Client;
  /** When a frame of this node last came back, by the steady time. */
  #echoedAt = Number.NEGATIVE_INFINITY;
  #inFlight = 0;
  #lengthInFlight = 0;
  #outages = 0;
  #refusedFrames = 0;
  readonly #signature: FrameSignature | undefined;
  /** Since when Redis has answered none of the frames in flight. */
  #silentSince = 0;
  #loggedState: Live | undefined;
  /** Frames of other versions that this node does not understand, once per kind. */
  readonly #foreign = new Set<string>();
  #openedAt = 0;
  #stateTimer: Timer | undefined;

  constructor(private readonly parts: RedisClusterParts) {
    // A restarted node has forgotten what it published, so under the same name it is still a new node to the others.
    this.node = `${parts.nodeId}:${randomUUID()}`;
    this.prefix = `tidings:${parts.name}:`;
    this.#signature = parts.secret === undefined ? undefined : createFrameSignature(parts.secret, this.prefix);
    this.#publisher = createRedisClient(parts.url);
    this.#subscriber = createRedisClient(parts.url);
  }

  get refusedFrames(): number {
    return this.#refusedFrames;
  }

  get outages(): number {
    return this.#outages;
  }

  get live(): Live {
    return this.parts.clock.steady() - this.#echoedAt < ECHO_TIMEOUT_MS ? 'ok' : 'degraded';
  }

  async open(listener: FrameListener): Promise<void> {
    this.#openedAt = this.parts.clock.steady();
    const connecting = this.#connect(listener);
    if (this.parts.isRequired) await this.#insist(connecting);
    else connecting.catch(() => {});
    this.#stateTimer = this.parts.clock.every(STATE_CHECK_INTERVAL_MS, () => this.#check());
  }

  async #connect(listener: FrameListener): Promise<void> {
    const onText = (text: string) => this.#receive(text, listener);
    const subscribe = () => this.#subscriber.subscribe(`${this.prefix}frames`, onText);
    // The client resubscribes after a reconnect by itself, unless the first attempt failed.
    this.#subscriber.on('ready', () => void subscribe().catch(() => {}));
    await Promise.all([this.#publisher.connect(), this.#subscriber.connect()]);
    await subscribe();
    await this.#publisher.ping();
  }

  async #insist(connecting: Promise<void>): Promise<void> {
    let reason: unknown;
    const note = (error: unknown) => {
      reason = error;
    };
    for (const client of [this.#publisher, this.#subscriber]) client.on('error', note);
    try {
      await withDeadline(connecting, OPEN_TIMEOUT_MS, () => reason ?? new Error('no answer'));
    } catch (error) {
      connecting.catch(() => {});
      this.#destroy();
      throw new ClusterOpenError(
        `Redis at ${hideCredentials(this.parts.url)} cannot be reached: ${describe(error)}. Check REDIS_URL and the ` +
          'server, or set REDIS_REQUIRED=false to start without it.',
      );
    } finally {
      for (const client of [this.#publisher, this.#subscriber]) client.off('error', note);
    }
  }

  #receive(text: string, listener: FrameListener): void {
    const opened = this.#signature === undefined ? text : this.#signature.open(text);
    if (opened === undefined) {
      this.#refuse();
      return;
    }
    const received = decodeFrame(opened);
    if ('foreign' in received) this.#logForeign(received.foreign);
    else if (received.node === this.node) this.#echoedAt = this.parts.clock.steady();
    else listener(received.frame, received.node);
  }

  /** Logged once: publishers must not be able to fill the log. */
  #refuse(): void {
    this.#refusedFrames += 1;
    if (this.#refusedFrames > 1) return;
    this.parts.logger.warn(
      'a frame that is not signed with CLUSTER_SECRET was refused: another node has no secret or another one, or ' +
        'something else publishes in the Redis channel of this service',
    );
  }

  /** Logged once, not for each frame: two versions run side by side during an upgrade. */
  #logForeign(foreign: string): void {
    if (this.#foreign.has(foreign) || this.#foreign.size === MAX_FOREIGN) return;
    this.#foreign.add(foreign);
    this.parts.logger.warn(
      { foreign },
      'frames of another node are not understood here: their messages arrive a few seconds later',
    );
  }

  publish(frame: ClusterFrame): void {
    if (!this.#publisher.isReady || (isFoundAgain(frame) && this.#isFull)) return;
    const plain = encodeFrame(this.node, frame);
    const text = this.#signature === undefined ? plain : this.#signature.sign(plain);
    if (this.#inFlight === 0) this.#silentSince = this.parts.clock.steady();
    this.#inFlight += 1;
    this.#lengthInFlight += text.length;
    this.#publisher
      .publish(`${this.prefix}frames`, text)
      .then(() => {
        this.#silentSince = this.parts.clock.steady();
      })
      // The next comparison with the store makes up for a lost frame; its loss shows as a missing echo.
      .catch(() => {})
      .finally(() => {
        this.#inFlight -= 1;
        this.#lengthInFlight -= text.length;
      });
  }

  get #isFull(): boolean {
    return (
      this.#inFlight >= MAX_FRAMES_IN_FLIGHT ||
      this.#lengthInFlight >= (this.parts.maxLengthInFlight ?? MAX_LENGTH_IN_FLIGHT)
    );
  }

  async command(words: readonly string[]): Promise<unknown> {
    if (this.live === 'degraded') throw new Error('Redis is down');
    const answer = this.#publisher.sendCommand([...words]);
    // The client has no timeout for commands it has already written.
    return withDeadline(answer, COMMAND_TIMEOUT_MS, () => new Error('Redis does not answer'));
  }

  #check(): void {
    this.#renewPublisher();
    this.#logChange();
  }

  /** A connection that is being written to never times out by itself: one without answers is dead. */
  #renewPublisher(): void {
    if (!this.#publisher.isReady || this.#inFlight === 0) return;
    if (this.parts.clock.steady() - this.#silentSince < SILENCE_TIMEOUT_MS) return;
    this.#publisher.destroy();
    this.#publisher = createRedisClient(this.parts.url);
    this.#publisher.connect().catch(() => {});
  }

  #logChange(): void {
    const state = this.live;
    const isTooEarly = this.#loggedState === undefined && this.parts.clock.steady() - this.#openedAt < ECHO_TIMEOUT_MS;
    if (state === this.#loggedState || (state === 'degraded' && isTooEarly)) return;
    this.#loggedState = state;
    if (state === 'degraded') this.#outages += 1;
    if (state === 'ok') this.parts.logger.info('Redis is up: other nodes receive messages at once');
    else this.parts.logger.warn('Redis is down: other nodes find messages when they compare with the store');
  }

  async close(): Promise<void> {
    this.#stateTimer?.cancel();
    this.#destroy();
  }

  #destroy(): void {
    for (const client of [this.#publisher, this.#subscriber]) client.destroy();
  }
}

type Client = ReturnType<typeof createRedisClient>;

/** Frames whose loss the store, or the next heartbeat, makes up for. The others are few. */
function isFoundAgain({ kind }: ClusterFrame): boolean {
  return kind === 'entries' || kind === 'online' || kind === 'live' || kind === 'typing' || kind === 'expired';
}

function createRedisClient(url: string) {
  const client = createClient({
    url,
    // Commands fail while Redis is unavailable, instead of piling up.
    disableOfflineQueue: true,
    socket: {
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_TIMEOUT_MS,
      reconnectStrategy: (attempts: number) => Math.min(50 * 2 ** attempts, MAX_RECONNECT_DELAY_MS),
    },
  });
  // The client reports each attempt to connect. The log has one line when an outage begins and one when it ends:
  // #logChange.
  client.on('error', () => {});
  return client;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
