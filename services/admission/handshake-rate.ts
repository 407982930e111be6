/**
 * New connections per second, over all addresses. While more than one address connects, none gets more than half: a
 * flood from one address cannot lock everybody else out. A single address, such as a proxy, gets all.
 */
const OTHERS_REMEMBERED_MS = 60_000;

export type HandshakeVerdict = 'accepted' | 'too-many' | 'beyond-share';

export class HandshakeRate {
  /** The share of one address in a second in which others connect too. */
  readonly share: number;
  /** Accepted in this second, by address; cleared every second, so it has at most `perSecond` entries. */
  readonly #accepted = new Map<string, number>();
  #acceptedInAll = 0;
  #second = Number.NEGATIVE_INFINITY;
  #asking: string | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** When an address other than the current one last connected. */
  #othersAskedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly perSecond: number) {
    this.share = Math.ceil(perSecond / 2);
  }

  /** Judges one handshake at `now` (milliseconds). */
  judge(address: string, now: number): HandshakeVerdict {
    this.#beginSecond(Math.floor(now / 1000));
    this.#notice(address, now);
    if (this.#acceptedInAll >= this.perSecond) return 'too-many';
    const accepted = this.#accepted.get(address) ?? 0;
    if (accepted >= this.share && now - this.#othersAskedAt < OTHERS_REMEMBERED_MS) return 'beyond-share';
    this.#accepted.set(address, accepted + 1);
    this.#acceptedInAll += 1;
    return 'accepted';
  }

  #beginSecond(second: number): void {
    if (second === this.#second) return;
    this.#second = second;
    this.#accepted.clear();
    this.#acceptedInAll = 0;
  }

  #notice(address: string, now: number): void {
    if (address !== this.#asking) this.#othersAskedAt = this.#askedAt;
    this.#asking = address;
    this.#askedAt = now;
  }
}
