/** Sends at a fixed rate, whatever the answers: if the service cannot keep up, it shows as latency. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Access } from '../access';
import { explainFault, explainProblem, faultCodeOf } from '../explain';
import { type Answer, createAgent, exchange, explainForeignAnswer, jsonHeaders, problemOf } from '../requests';
import { Failure } from '../terminal';
import type { MessageStream } from './message-stream';
import { type LoadPlan, userIdOf } from './plan';
import type { Tally } from './tally';

const MAX_HTTP_CONNECTIONS = 256;

interface SenderOptions {
  readonly access: Access;
  readonly plan: LoadPlan;
  readonly tally: Tally;
  readonly streams: readonly MessageStream[];
}

export class Sender {
  readonly #agent;
  readonly #headers: Record<string, string>;
  readonly #pending = new Set<Promise<void>>();
  #hopeless: Failure | undefined;
  sent = 0;

  constructor(private readonly options: SenderOptions) {
    this.#agent = createAgent(options.access.origin, MAX_HTTP_CONNECTIONS);
    this.#headers = jsonHeaders(options.access.token());
  }

  /**
   * Sends everything when it is due, and waits for the answers. Ends early on the signal.
   * @throws Failure when a refusal would be the same for every message.
   */
  async run(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    for (const stream of this.options.streams) stream.start(now);
    await Promise.all(this.options.streams.map((stream) => this.#send(stream, signal)));
    await Promise.all(this.#pending);
    this.#agent.destroy();
    if (this.#hopeless !== undefined) throw this.#hopeless;
  }

  async #send(stream: MessageStream, signal: AbortSignal): Promise<void> {
    for (let n = 0; n < stream.count; n += 1) {
      const waitMs = stream.dueAt(n) - performance.now();
      if (waitMs > 0) await untilPast(waitMs, signal);
      if (signal.aborted || this.#hopeless !== undefined) return;
      this.#sendOne(stream, n);
    }
  }

  #sendOne(stream: MessageStream, n: number): void {
    this.sent += 1;
    const { access } = this.options;
    const sending = exchange(access.origin, {
      method: 'POST',
      ...this.#requestFor(stream, n),
      headers: this.#headers,
      agent: this.#agent,
    })
      .then((answer) => this.#take(answer, stream, n))
      .catch((fault: unknown) => {
        this.options.tally.noteFailed(faultCodeOf(fault), explainFault(fault, access.origin));
      })
      .finally(() => this.#pending.delete(sending));
    this.#pending.add(sending);
  }

  #requestFor({ kind }: MessageStream, n: number): { path: string; body: string } {
    const { plan, tally } = this.options;
    const message = { type: 'load', data: { run: tally.run, kind, n } };
    return kind === 'broadcast'
      ? { path: '/websocket/message/broadcast', body: JSON.stringify(message) }
      : { path: '/websocket/message/user', body: JSON.stringify({ userId: userIdOf(n, plan), ...message }) };
  }

  #take(answer: Answer, stream: MessageStream, n: number): void {
    const { access, tally } = this.options;
    if (answer.status === 200) {
      tally.noteAccepted(stream, n);
      return;
    }
    const problem = problemOf(answer);
    const code = problem?.code ?? `status ${answer.status}`;
    const sentence =
      problem === undefined ? explainForeignAnswer(access.origin, answer) : explainProblem(problem, access);
    tally.noteFailed(code, sentence);
    // A refusal that retries do not help would be the same for each message.
    if (answer.status < 500 && problem?.retryInMs === undefined) this.#hopeless ??= new Failure(sentence);
  }
}

async function untilPast(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
