import type { Answer } from './http-connection';

const DELIVERY_TIMEOUT_MS = 10_000;
/** The first of each kind are enough. */
const MAX_TEXTS = 3;

interface Waiting {
  readonly count: number;
  resolve(): void;
}

/**
 * Compares what one server delivers with what was sent: every receiver must receive its messages numbered 1, 2, 3, …
 * without repeat or gap. Any fault makes the round void.
 */
export class Tally {
  private readonly lastOfReceiver: number[] = [];
  private delivered = 0;
  private repeated = 0;
  private skipped = 0;
  private refusals: string[] = [];
  private waiting: Waiting | undefined;

  /** Forgets counts and faults, but not how far each receiver is. */
  begin(): void {
    this.delivered = 0;
    this.repeated = 0;
    this.skipped = 0;
    this.refusals = [];
  }

  noteDelivery(receiver: number, n: number): void {
    const last = this.lastOfReceiver[receiver] ?? 0;
    this.delivered += 1;
    if (n <= last) this.repeated += 1;
    else this.lastOfReceiver[receiver] = n;
    if (n > last + 1) this.skipped += n - last - 1;
    if (this.waiting !== undefined && this.delivered >= this.waiting.count) this.waiting.resolve();
  }

  /** A receiver that joins late starts after what was sent before. */
  startReceiverAt(receiver: number, n: number): void {
    this.lastOfReceiver[receiver] = n;
  }

  /** Takes the outcome of a request; anything but 200 is a fault. */
  async noteAnswer(answer: Promise<Answer>): Promise<void> {
    try {
      const { status, body } = await answer;
      if (status !== 200) this.refusals.push(`answered ${status}: ${body}`);
    } catch (error) {
      this.refusals.push(String(error));
    }
  }

  /** Resolves when this many messages have arrived since `begin`, or when waiting longer is of no use. */
  async waitForDeliveries(count: number): Promise<void> {
    if (this.delivered >= count) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.waiting = { count, resolve };
      timer = setTimeout(resolve, DELIVERY_TIMEOUT_MS);
    });
    clearTimeout(timer);
    this.waiting = undefined;
  }

  /** What was wrong since `begin`, if `expected` deliveries were due; empty if nothing was. */
  findFaults(expected: number): string[] {
    const faults = this.refusals.slice(0, MAX_TEXTS);
    if (this.refusals.length > 0) faults.push(`${this.refusals.length} requests failed`);
    if (this.delivered !== expected) faults.push(`${this.delivered} delivered of ${expected}`);
    if (this.repeated > 0) faults.push(`${this.repeated} repeated or out of order`);
    if (this.skipped > 0) faults.push(`${this.skipped} skipped`);
    return faults;
  }
}
