/**
 * Who is typing where: sent to the others, never stored. At most one frame per second and user; five seconds of silence
 * end it.
 */
import type { Balance, Lender } from '../../utils/balance';
import type { Clock, Timer } from '../../utils/clock';
import type { Cluster } from '../cluster/contract';
import type { FrameFor } from '../cluster/frames';
import { type Transport, writeToAll } from '../delivery/connections';
import type { Delivery } from '../delivery/delivery';

const MIN_INTERVAL_MS = 1_000;
const SILENCE_MS = 5_000;
const CHECK_INTERVAL_MS = 250;

interface Typist {
  /** Its members, except the user, receive it. */
  readonly room: string;
  /** The topic as the recipients know it. */
  readonly topic: string;
  readonly userId: string;
  isTyping: boolean;
  wasSent: boolean;
  changedAt: number;
}

export class Typing implements Lender {
  readonly #typists = new Map<string, Typist>();
  readonly #sentAt = new Map<string, number>();
  #timer: Timer | undefined;

  constructor(
    private readonly delivery: Delivery,
    private readonly cluster: Cluster,
    private readonly clock: Clock,
  ) {}

  open(): void {
    this.#timer = this.clock.every(CHECK_INTERVAL_MS, () => this.check());
  }

  close(): void {
    this.#timer?.cancel();
    this.#typists.clear();
    this.#sentAt.clear();
  }

  get balance(): Balance {
    return { typists: this.#typists.size, typingPaces: this.#sentAt.size };
  }

  /** A client reports that its user has begun or stopped typing. */
  set({ room, topic, userId }: { room: string; topic: string; userId: string }, isTyping: boolean): void {
    const key = `${userId}\u0000${room}`;
    const known = this.#typists.get(key);
    if (known === undefined && !isTyping) return;
    const typist = known ?? { room, topic, userId, isTyping, wasSent: false, changedAt: 0 };
    typist.isTyping = isTyping;
    typist.changedAt = this.clock.steady();
    this.#typists.set(key, typist);
    this.#send(key, typist);
  }

  /** Ends typing that fell silent, and sends what had to wait for its pace. */
  check(): void {
    const now = this.clock.steady();
    for (const [key, typist] of this.#typists) {
      if (now - typist.changedAt >= SILENCE_MS) typist.isTyping = false;
      this.#send(key, typist);
    }
    for (const [userId, time] of this.#sentAt) if (now - time >= MIN_INTERVAL_MS) this.#sentAt.delete(userId);
  }

  #send(key: string, typist: Typist): void {
    const { room, topic, userId, isTyping } = typist;
    if (isTyping !== typist.wasSent) {
      const now = this.clock.steady();
      if (now - (this.#sentAt.get(userId) ?? Number.NEGATIVE_INFINITY) < MIN_INTERVAL_MS) return;
      this.#sentAt.set(userId, now);
      typist.wasSent = isTyping;
      const frame = { topic, userId, typing: isTyping };
      this.#show(room, frame);
      this.cluster.publish({ kind: 'typing', room, ...frame });
    }
    if (!isTyping) this.#typists.delete(key);
  }

  /** Shows typing on another node, which keeps the pace. */
  receive({ room, topic, userId, typing }: FrameFor<'typing'>): void {
    this.#show(room, { topic, userId, typing });
  }

  #show(room: string, frame: { topic: string; userId: string; typing: boolean }): void {
    const encode = (transport: Transport) => transport.encodeEvent('typing', frame);
    writeToAll(this.delivery.membersOf(room), encode, frame.userId);
  }
}
