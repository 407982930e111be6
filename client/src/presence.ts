/** Who is online, while anybody wants to know. */
import type { Calls } from './calls.ts';
import { callSafely, type TidingsError } from './errors.ts';
import type { PresenceJoin, PresenceList } from './protocol.ts';

export type PresenceEvent =
  | { readonly kind: 'list'; readonly frame: PresenceList }
  | { readonly kind: 'join' | 'leave'; readonly frame: PresenceJoin };

export class Presence {
  #users: readonly string[] = [];
  readonly #listeners = new Set<(users: readonly string[]) => void>();

  constructor(
    private readonly calls: Calls,
    private readonly isOnline: () => boolean,
    private readonly report: (error: TidingsError) => void,
  ) {}

  /** The online users; empty while nobody has subscribed. */
  get users(): readonly string[] {
    return this.#users;
  }

  /**
   * Calls with all online users, now and after each change, even across reconnects.
   * @returns what ends it. A refusal is an `error` of the client.
   */
  subscribe(listener: (users: readonly string[]) => void): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#ask('presence:subscribe');
    else listener(this.#users);
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
      this.#users = [];
      this.#ask('presence:unsubscribe');
    };
  }

  /** A new connection has no subscription. */
  connected(): void {
    if (this.#listeners.size > 0) this.#ask('presence:subscribe');
  }

  /** Without a connection there is nothing to request: the next one begins with it. */
  #ask(event: string): void {
    if (!this.isOnline()) return;
    this.calls.call(event, undefined, { mayRepeat: false }).catch((error: TidingsError) => {
      if (this.isOnline()) this.report(error);
    });
  }

  receive({ kind, frame }: PresenceEvent): void {
    if (this.#listeners.size === 0) return;
    const users = 'userId' in frame ? [frame.userId] : frame.users;
    if (kind === 'list') this.#users = users;
    else if (kind === 'join') this.#users = [...new Set([...this.#users, ...users])];
    else this.#users = this.#users.filter((userId) => !users.includes(userId));
    for (const listener of [...this.#listeners]) callSafely(() => listener(this.#users), this.report);
  }
}
