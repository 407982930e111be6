/**
 * Pending acknowledgements: the highest `seq` of each topic, sent together. What is not acknowledged comes again, so
 * losing one costs a repeat, which is dropped.
 */
import { after, type Timer } from './timing.ts';

const DELAY_MS = 50;
/** The service waits after 200 unacknowledged messages. */
const MAX_MESSAGES = 50;

export class Acks {
  readonly #pending = new Map<string, number>();
  #messages = 0;
  #timer: Timer | undefined;

  constructor(private readonly send: (topic: string, seq: number) => void) {}

  add(topic: string, seq: number): void {
    this.#pending.set(topic, Math.max(seq, this.#pending.get(topic) ?? 0));
    this.#messages += 1;
    if (this.#messages >= MAX_MESSAGES) this.flush();
    else this.#timer ??= after(DELAY_MS, () => this.flush());
  }

  flush(): void {
    const pending = [...this.#pending];
    this.drop();
    for (const [topic, seq] of pending) this.send(topic, seq);
  }

  /**
   * Forgets what was not sent: after a reconnect, the service begins after the last acknowledgement that reached it.
   */
  drop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#messages = 0;
    this.#pending.clear();
  }
}
