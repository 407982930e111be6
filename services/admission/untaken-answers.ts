/**
 * HTTP answers that were written and not read: their bytes wait in this process until the client reads them. An answer
 * that is read at once, as nearly all are, costs nothing here.
 */
import type { ServerResponse } from 'node:http';
import type { Balance, Lender } from '../../utils/balance';
import type { Clock, Timer } from '../../utils/clock';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';

/** An answer is cut when what was written of it has stayed unread for this long. */
const PATIENCE_MS = 30_000;
const CHECK_INTERVAL_MS = 1_000;

export interface UntakenAnswersParts {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'answersCut'>;
  readonly logger: Logger;
  readonly maxBufferedBytes: number;
}

/** Callers without a token share the bound of one user; beyond it their oldest answers are cut. */
const STRANGERS_SHARE = 16;

/** Whom an answer is for: a user, a polling connection that counts its bytes itself, or an unknown caller. */
export type Recipient = { readonly userId: string } | 'poll' | 'stranger';

interface Untaken {
  readonly recipient: Recipient;
  /** Bytes that waited at the first look. */
  readonly bytes: number;
  /** Since when a part of it waits, by the steady time. */
  since: number;
}

export class UntakenAnswers implements Lender {
  readonly #answers = new Map<ServerResponse, Untaken>();
  readonly #byUser = new Map<string, Set<ServerResponse>>();
  /** Oldest first. */
  readonly #ofStrangers = new Set<ServerResponse>();
  #strangersBytes = 0;
  #timer: Timer | undefined;

  constructor(private readonly parts: UntakenAnswersParts) {}

  get balance(): Balance {
    return { untakenAnswers: this.count, untakenBytes: this.bytes, strangersBytes: this.#strangersBytes };
  }

  open(): void {
    this.#timer = this.parts.clock.every(CHECK_INTERVAL_MS, () => this.#cutLate());
  }

  close(): void {
    this.#timer?.cancel();
  }

  /** Answers that wait. */
  get count(): number {
    return this.#answers.size;
  }

  /** Bytes of all of them. */
  get bytes(): number {
    return sum(this.#answers.keys());
  }

  /** Bytes that wait for one user. */
  bytesOf(userId: string): number {
    return sum(this.#byUser.get(userId) ?? []);
  }

  /** Watches an answer that was written and not read, until it is read or its connection ends. */
  watch(response: ServerResponse, recipient: Recipient): void {
    if (this.#answers.has(response) || response.closed) return;
    const untaken = { recipient, bytes: response.writableLength, since: this.parts.clock.steady() };
    this.#answers.set(response, untaken);
    response.on('drain', () => {
      untaken.since = this.parts.clock.steady();
    });
    response.once('close', () => this.#forget(response, untaken));
    if (recipient === 'stranger') this.#addOfStranger(response, untaken);
    else if (recipient !== 'poll') this.#addOfUser(response, recipient.userId);
  }

  #addOfStranger(response: ServerResponse, { bytes }: Untaken): void {
    this.#ofStrangers.add(response);
    this.#strangersBytes += bytes;
    for (const oldest of this.#ofStrangers) {
      if (this.#strangersBytes <= STRANGERS_SHARE * this.parts.maxBufferedBytes) return;
      this.#cut(oldest);
    }
  }

  #addOfUser(response: ServerResponse, userId: string): void {
    const known = this.#byUser.get(userId);
    if (known === undefined) this.#byUser.set(userId, new Set([response]));
    else known.add(response);
  }

  #forget(response: ServerResponse, { recipient, bytes }: Untaken): void {
    if (!this.#answers.delete(response)) return;
    if (recipient === 'stranger') {
      this.#ofStrangers.delete(response);
      this.#strangersBytes -= bytes;
    } else if (recipient !== 'poll') {
      const known = this.#byUser.get(recipient.userId);
      known?.delete(response);
      if (known?.size === 0) this.#byUser.delete(recipient.userId);
    }
  }

  #cutLate(): void {
    const now = this.parts.clock.steady();
    for (const [response, untaken] of this.#answers) {
      // All of it was read, and more is being produced.
      if (response.writableLength === 0) untaken.since = now;
      else if (now - untaken.since >= PATIENCE_MS) this.#cut(response);
    }
  }

  #cut(response: ServerResponse): void {
    const untaken = this.#answers.get(response);
    if (untaken === undefined) return;
    const { recipient } = untaken;
    this.parts.metrics.answersCut.inc();
    this.parts.logger.warn({ recipient, bytes: response.writableLength }, 'an answer was not read in time, and is cut');
    this.#forget(response, untaken);
    response.destroy();
  }
}

function sum(answers: Iterable<ServerResponse>): number {
  let bytes = 0;
  for (const { writableLength } of answers) bytes += writableLength;
  return bytes;
}
