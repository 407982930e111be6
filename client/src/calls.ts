/** Requests over the socket: they wait for the connection, are repeated where that is safe, and end in time. */
import type { Connection } from './connection.ts';
import { fromProblem, TidingsError } from './errors.ts';
import { retryIn } from './retry.ts';
import type { Shape } from './shapes.ts';
import { after, type Pauses } from './timing.ts';

/** A connection that is silent for this long is asked again. */
const ATTEMPT_MS = 5_000;
const LOST = new Set<string>(['timeout', 'connection_lost']);

export interface CallOptions<Answer> {
  /** The shape of the answer; absent if nothing of it is used. */
  readonly shape?: Shape<Answer>;
  /** Is it safe to do twice? */
  readonly mayRepeat: boolean;
  /** Applies the answer before anything that the service sent after it; what awaits the call may be later. */
  readonly onAnswer?: (answer: Answer) => void;
  /** By `Date.now()`. */
  readonly deadline?: number;
}

export class Calls {
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly connection: Connection,
    private readonly pauses: Pauses,
    readonly timeoutMs: number,
  ) {}

  newDeadline(): number {
    return Date.now() + this.timeoutMs;
  }

  /** To be called when the connection opens or ends. */
  statusChanged(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** @throws TidingsError: the service's problem, `timeout`, `connection_lost`, `closed`, `unexpected_answer`. */
  async call<Answer>(
    event: string,
    payload: object | undefined,
    { shape = isAnything, mayRepeat, onAnswer, deadline = this.newDeadline() }: CallOptions<Answer>,
  ): Promise<Answer> {
    for (;;) {
      await this.#online(event, deadline);
      try {
        const answer = await this.#once<Answer>(event, payload, deadline, (early) => {
          if (shape(early)) onAnswer?.(early);
        });
        if (shape(answer)) return answer;
        throw new TidingsError('unexpected_answer', `${event} was answered, and not as the service answers.`);
      } catch (error) {
        if (!(error instanceof TidingsError) || !(await this.#mayGoOn(error, mayRepeat, deadline))) throw error;
      }
    }
  }

  async #once<Answer>(
    event: string,
    payload: object | undefined,
    deadline: number,
    take: (answer: Answer) => void,
  ): Promise<Answer> {
    const patience = Math.max(1, Math.min(ATTEMPT_MS, deadline - Date.now()));
    const reply = await this.connection.request<Answer>(event, payload, patience, (early) => {
      if (early.ok) take(early);
    });
    if (reply.ok) return reply;
    throw fromProblem(reply.error);
  }

  async #mayGoOn(error: TidingsError, mayRepeat: boolean, deadline: number): Promise<boolean> {
    if (LOST.has(error.code)) return mayRepeat && Date.now() < deadline;
    const pauseMs = retryIn(error, mayRepeat);
    if (pauseMs === undefined || Date.now() + pauseMs > deadline) return false;
    return this.pauses.pause(pauseMs);
  }

  /** Resolves when there is a connection. */
  #online(event: string, deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: TidingsError) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        if (error === undefined) resolve();
        else reject(error);
      };
      const look = () => {
        const { status, error } = this.connection;
        if (status === 'online') settle();
        else if (status === 'closed') settle(error ?? new TidingsError('closed', 'The client was closed.'));
      };
      const message = `${event}: there was no connection in time.`;
      const timer = after(deadline - Date.now(), () => settle(new TidingsError('timeout', message)));
      this.#waiting.add(look);
      look();
    });
  }
}

function isAnything<Answer>(_answer: unknown): _answer is Answer {
  return true;
}
