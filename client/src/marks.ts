/**
 * Marks on their way to the service, in the order of the calls. An unanswered one is kept, even across reloads, and
 * repeated when there is a connection: marking twice changes nothing.
 */
import type { Calls } from './calls.ts';
import { TidingsError } from './errors.ts';
import type { RequestedState, StateAnswer } from './protocol.ts';
import { retryIn } from './retry.ts';
import { isStateAnswer } from './shapes.ts';
import type { Shelf } from './storage.ts';
import { after, backoffMs, type Timer } from './timing.ts';

const KEPT_AS = 'marks';
const REPEAT_PATIENCE_MS = 15_000;
/** The oldest are dropped: the user is least likely to miss them. */
const MAX_KEPT = 500;
/** It may have been carried out or not, so it can only be repeated. */
const UNANSWERED: ReadonlySet<string> = new Set(['timeout', 'connection_lost', 'closed']);

export type Scope = { readonly ids: readonly string[] } | { readonly topic: string; readonly upTo: number };

export interface Mark {
  readonly state: RequestedState;
  readonly scope: Scope;
}

interface Entry {
  readonly mark: Mark;
  /** The caller, while its time lasts. */
  caller:
    | { readonly resolve: (answer: StateAnswer) => void; readonly reject: (error: TidingsError) => void }
    | undefined;
  timer: Timer | undefined;
}

export interface MarksParts {
  readonly calls: Calls;
  readonly report: (error: TidingsError) => void;
  /** One has been carried out: called before anything that the service sent after its answer is handled. */
  readonly onDone: (mark: Mark, answer: StateAnswer) => void;
}

export class Marks {
  #entries: Entry[] = [];
  #isOnline = false;
  #isRunning = false;
  /** Consecutive attempts without an answer. */
  #unanswered = 0;
  #retryTimer: Timer | undefined;
  #isKept = false;
  #shelf: Shelf | undefined;

  constructor(private readonly parts: MarksParts) {}

  /** Reads what was unanswered when the page or the program ended. */
  async restore(shelf: Shelf): Promise<void> {
    this.#shelf = shelf;
    const kept = await shelf.getJson(KEPT_AS);
    if (!Array.isArray(kept)) return;
    const marks = kept.filter(isMark);
    this.#entries = [...marks.map((mark) => ({ mark, caller: undefined, timer: undefined })), ...this.#entries];
    this.#isKept = marks.length > 0;
  }

  /**
   * Resolves when the service has it.
   * @throws TidingsError `timeout`, `connection_lost`, `closed`: then it is kept, and repeated later.
   */
  add(mark: Mark): Promise<StateAnswer> {
    return new Promise((resolve, reject) => {
      const entry: Entry = { mark, caller: { resolve, reject }, timer: undefined };
      const late = () =>
        this.#letGo(entry, new TidingsError('timeout', 'state: not answered in time; it will be repeated.'));
      entry.timer = after(this.parts.calls.timeoutMs, late);
      this.#push(entry);
      if (!this.#isOnline) this.#keep();
      void this.#run();
    });
  }

  /** Keeps one that was sent in another way, and not answered. */
  keep(mark: Mark): void {
    this.#push({ mark, caller: undefined, timer: undefined });
    this.#keep();
    void this.#run();
  }

  #push(entry: Entry): void {
    this.#entries.push(entry);
    if (this.#entries.length <= MAX_KEPT) return;
    const oldest = this.#entries.shift();
    if (oldest !== undefined) this.#letGo(oldest, new TidingsError('timeout', 'state: too many wait; it is given up.'));
  }

  #letGo(entry: Entry, error: TidingsError): void {
    clearTimeout(entry.timer);
    entry.caller?.reject(error);
    entry.caller = undefined;
  }

  /** There is a connection. */
  connected(): void {
    this.#isOnline = true;
    this.#unanswered = 0;
    void this.#run();
  }

  disconnected(): void {
    this.#isOnline = false;
    clearTimeout(this.#retryTimer);
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let [entry] = this.#entries; entry !== undefined && this.#isOnline; [entry] = this.#entries) {
      if (await this.#carryOut(entry)) this.#unanswered = 0;
      else {
        this.#unanswered += 1;
        break;
      }
    }
    this.#isRunning = false;
    if (this.#unanswered > 0) this.#retryLater();
  }

  #retryLater(): void {
    clearTimeout(this.#retryTimer);
    if (this.#isOnline) this.#retryTimer = after(backoffMs(this.#unanswered - 1), () => void this.#run());
  }

  /** @returns false when it was not answered. */
  async #carryOut(entry: Entry): Promise<boolean> {
    const { state, scope } = entry.mark;
    // The caller's time may be nearly over; a repeat has the whole time.
    const repeat = entry.caller === undefined ? { deadline: Date.now() + REPEAT_PATIENCE_MS } : {};
    try {
      const payload = { state, ...scope };
      await this.parts.calls.call('state', payload, {
        shape: isStateAnswer,
        mayRepeat: true,
        onAnswer: (answer) => this.#answered(entry, answer),
        ...repeat,
      });
      return true;
    } catch (thrown) {
      const error = asTidingsError(thrown);
      if (isUnanswered(error)) {
        this.#letGo(entry, error);
        this.#keep();
        return false;
      }
      this.#refused(entry, error);
      return true;
    }
  }

  #answered(entry: Entry, answer: StateAnswer): void {
    this.#remove(entry);
    this.parts.onDone(entry.mark, answer);
    entry.caller?.resolve(answer);
  }

  #refused(entry: Entry, error: TidingsError): void {
    this.#remove(entry);
    if (entry.caller === undefined) this.parts.report(error);
    else entry.caller.reject(error);
  }

  #remove(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#entries = this.#entries.filter((other) => other !== entry);
    if (this.#isKept) this.#keep();
  }

  #keep(): void {
    this.#isKept = this.#entries.length > 0;
    if (this.#isKept) void this.#shelf?.set(KEPT_AS, JSON.stringify(this.#entries.map(({ mark }) => mark)));
    else void this.#shelf?.remove(KEPT_AS);
  }

  /** Forgets all of them: the user has logged out, or was erased. */
  forget(): void {
    for (const entry of this.#entries) this.#letGo(entry, new TidingsError('closed', 'state: given up.'));
    this.#entries = [];
    if (this.#isKept) this.#keep();
  }

  /** Waits for nothing any more. What was not answered is kept. */
  close(): void {
    this.disconnected();
    for (const entry of this.#entries) this.#letGo(entry, new TidingsError('closed', 'The client was closed.'));
    if (this.#entries.length > 0) this.#keep();
  }
}

/** Is it worth repeating: was there no answer, or one that says so? */
export function isUnanswered(error: unknown): boolean {
  if (!(error instanceof TidingsError)) return false;
  return UNANSWERED.has(error.code) || retryIn(error, true) !== undefined;
}

function isMark(value: unknown): value is Mark {
  return typeof value === 'object' && value !== null && 'state' in value && 'scope' in value;
}

function asTidingsError(thrown: unknown): TidingsError {
  if (thrown instanceof TidingsError) return thrown;
  throw thrown;
}
