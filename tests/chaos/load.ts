/** The senders of a round: intents at a steady rate, each tried on either node in turn until it is answered. */
import type { Random } from '../support/random';
import { testToken } from '../support/service';
import type { History, Intent, Place } from './history';
import { type Answer, request } from './http';
import { pace } from './until';

export interface LoadParts {
  readonly urls: readonly string[];
  readonly history: History;
  readonly random: Random;
  readonly userIds: readonly string[];
  /** The named topic. */
  readonly topic: string;
}

const TICK_MS = 25;
const SENDS_PER_SECOND = 120;
/** Beyond it, the load waits: a round is about faults, not about the capacity of two nodes. */
const MAX_UNANSWERED = 100;
/**
 * Before the second attempt, and during the first. Each further one comes later and lasts longer, otherwise a busy
 * machine never calms down.
 */
const RETRY_PACE_MS = 100;
const TRY_TIMEOUT_MS = 1_500;
const MAX_PATIENCE = 10;
/** One in this many is sent again although it was answered. */
const REPEAT_ONE_IN = 20;

export class Load {
  readonly #token = testToken('service', { scope: 'send broadcast' });
  readonly #unanswered = new Set<Promise<void>>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;
  #isGivenUp = false;

  constructor(private readonly parts: LoadParts) {}

  get count(): number {
    return this.#count;
  }

  get unanswered(): number {
    return this.#unanswered.size;
  }

  start(): void {
    const startedAt = performance.now();
    let due = 0;
    this.#timer = setInterval(() => {
      // By the clock, not by ticks: a busy machine skips some.
      const wanted = ((performance.now() - startedAt) / 1_000) * SENDS_PER_SECOND;
      for (; due < wanted && this.#unanswered.size < MAX_UNANSWERED; due += 1) this.send(this.#choose());
    }, TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Mostly to one user; now and then to everyone, or to the named topic. */
  #choose(): string {
    const { random, userIds, topic } = this.parts;
    const dice = random.integer(1, 40);
    if (dice === 1) return '*';
    if (dice === 2) return topic;
    return `@${userIds[random.integer(0, userIds.length - 1)]}`;
  }

  /** Sends something to a topic, once. */
  send(topic: string): void {
    this.#count += 1;
    const intent = { key: `intent ${this.#count}`, topic };
    const node = this.parts.random.integer(0, this.parts.urls.length - 1);
    const isRepeated = this.parts.random.integer(1, REPEAT_ONE_IN) === 1;
    const sending = this.#sendUntilAnswered(intent, node)
      .then(() => (isRepeated ? this.#sendUntilAnswered(intent, node + 1) : undefined))
      .finally(() => this.#unanswered.delete(sending));
    this.#unanswered.add(sending);
  }

  async #sendUntilAnswered(intent: Intent, first: number): Promise<void> {
    const { urls, history } = this.parts;
    for (let attempt = 0; !this.#isGivenUp; attempt += 1) {
      const patience = Math.min(attempt + 1, MAX_PATIENCE);
      history.tried(intent);
      const url = urls[(first + attempt) % urls.length] ?? '';
      const answer = await this.#post(url, intent, TRY_TIMEOUT_MS * patience);
      if (answer?.status === 200) return history.answered(intent.key, answer.body as unknown as Place);
      if (answer !== undefined && !isToBeRepeated(answer)) {
        return history.complain(`the key ${intent.key} was refused: ${JSON.stringify(answer)}`);
      }
      await pace(RETRY_PACE_MS * patience);
    }
  }

  #post(url: string, { key, topic }: Intent, timeoutMs: number): Promise<Answer | undefined> {
    const message = { type: 'load', data: { key } };
    const options = { method: 'POST', token: this.#token, key, timeoutMs } as const;
    if (topic === '*') return request(`${url}/websocket/message/broadcast`, { ...options, body: message });
    if (!topic.startsWith('@')) return request(`${url}/topics/${topic}/messages`, { ...options, body: message });
    const body = { userId: topic.slice(1), ...message };
    return request(`${url}/websocket/message/user`, { ...options, body });
  }

  /** Resolves when everything is answered, or is given up. */
  async answered(): Promise<void> {
    while (this.#unanswered.size > 0) await Promise.all(this.#unanswered);
  }

  /** Resolves when everything is answered; what is not answered by then is given up. */
  async settle(patienceMs: number): Promise<void> {
    const timer = setTimeout(() => this.giveUp(), patienceMs);
    await this.answered();
    clearTimeout(timer);
  }

  /** Nothing is tried again. */
  giveUp(): void {
    this.#isGivenUp = true;
  }
}

/**
 * Answers about the service itself, or that another attempt may succeed: the sender may retry. All others are final.
 */
function isToBeRepeated({ status, body }: Answer): boolean {
  return status >= 500 || body['code'] === 'request_in_progress';
}
