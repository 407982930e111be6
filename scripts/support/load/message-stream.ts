/**
 * One kind of message of a run: when each is due, who receives it, and whether it arrived. Messages are numbered from
 * 0; one bit for each that a connection expects says whether it has arrived there.
 */
import type { LoadPlan } from './plan';

export type StreamKind = 'user' | 'broadcast';

interface StreamOptions {
  readonly kind: StreamKind;
  readonly perSecond: number;
  /** Every how many messages the same connection has its turn again. */
  readonly turns: number;
}

export class MessageStream {
  readonly kind: StreamKind;
  readonly count: number;
  readonly #perSecond: number;
  readonly #turns: number;
  /** How many messages one connection receives at most. */
  readonly #slots: number;
  readonly #arrived: Uint8Array;
  readonly #arrivals: Uint32Array;
  readonly #isAccepted: Uint8Array;
  #startedAt = 0;

  private constructor(
    { kind, perSecond, turns }: StreamOptions,
    private readonly plan: LoadPlan,
  ) {
    this.kind = kind;
    this.count = perSecond * plan.seconds;
    this.#perSecond = perSecond;
    this.#turns = turns;
    this.#slots = Math.ceil(this.count / turns);
    this.#arrived = new Uint8Array(Math.ceil((plan.connections * this.#slots) / 8));
    this.#arrivals = new Uint32Array(this.count);
    this.#isAccepted = new Uint8Array(this.count);
  }

  /** Messages to one user each, in turn. */
  static toUsers(plan: LoadPlan): MessageStream {
    return new MessageStream({ kind: 'user', perSecond: plan.rate, turns: plan.users }, plan);
  }

  static toEveryone(plan: LoadPlan): MessageStream {
    return new MessageStream({ kind: 'broadcast', perSecond: plan.broadcastRate, turns: 1 }, plan);
  }

  start(now: number): void {
    this.#startedAt = now;
  }

  /** When a message is to be sent, whatever happened to earlier ones. */
  dueAt(n: number): number {
    return this.#startedAt + (n * 1_000) / this.#perSecond;
  }

  /** The service has accepted this message. */
  noteAccepted(n: number): void {
    this.#isAccepted[n] = 1;
  }

  /** @returns is it the first time on this connection, whenever that was opened? */
  noteArrival(connection: number, n: number): boolean {
    const bit = connection * this.#slots + Math.floor(n / this.#turns);
    const [byte, mask] = [bit >> 3, 1 << (bit & 7)];
    const before = this.#arrived[byte] ?? 0;
    if ((before & mask) !== 0) return false;
    this.#arrived[byte] = before | mask;
    this.#arrivals[n] = (this.#arrivals[n] ?? 0) + 1;
    return true;
  }

  /** Which of the accepted messages were expected, and which are missing. */
  tally(): { expected: number; lost: number } {
    let expected = 0;
    let lost = 0;
    for (let n = 0; n < this.count; n += 1) {
      if (this.#isAccepted[n] !== 1) continue;
      const receivers = this.#receiversOf(n);
      expected += receivers;
      lost += receivers - (this.#arrivals[n] ?? 0);
    }
    return { expected, lost };
  }

  #receiversOf(n: number): number {
    const { users, connections } = this.plan;
    return this.kind === 'broadcast' ? connections : Math.ceil((connections - (n % users)) / users);
  }
}
