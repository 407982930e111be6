/** Erasures and other removals: hidden at once, then their rows are removed in parts that block nobody. */
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import type { Erased } from '../contract';
import type { Span } from '../rules/slot-row';
import { Turns } from '../turns';
import type { Access } from './access';
import type { RemovalKey } from './layout';
import type { Log } from './log';
import type { Removals, Tally } from './removals';

export interface ErasureParts {
  readonly log: Log;
  readonly removals: Removals;
}

export class Erasures {
  /** One erasure of a user at a time, and what it has removed so far. */
  readonly #turns = new Turns();
  readonly #tallies = new Map<string, Tally>();

  constructor(
    private readonly access: Access,
    private readonly parts: ErasureParts,
  ) {}

  async advance(): Promise<boolean> {
    const { removals } = this.parts;
    const isHeld = ([kind, name]: RemovalKey) => kind === 'user' && this.#tallies.has(name);
    const key = await this.access.reading(() => removals.next(isHeld));
    if (key !== undefined) await this.access.write(() => removals.advance(key));
    return key !== undefined;
  }

  async erase(userId: string): Promise<Erased> {
    // Queued among the appends at once: later messages are not erased.
    const hiding = this.access.write(() => this.#hide(userId));
    const erasing = this.#turns.take(userId, async () => this.#erase(userId, await hiding));
    return (await Promise.all([erasing, hiding]))[0];
  }

  /** Finishes a pending erasure: nothing of the user is left. */
  async end(userId: string): Promise<void> {
    const { removals } = this.parts;
    while (await this.access.write(() => removals.advance(keyOf(userId), this.#tallies.get(userId))));
  }

  /** Hides the user. @returns the part of the personal topic that is hidden from now on. */
  #hide(userId: string): Span {
    const { log } = this.parts;
    const key = keyOf(userId);
    const own = personalTopic(userId);
    const { users, removals } = this.access.trees;
    const { prunedUpTo, head } = log.state(own);
    const { head: upTo } = log.state(BROADCAST_TOPIC);
    // An interrupted erasure has recorded where the broadcasts of this user began.
    const from = Math.min(users.get(userId)?.broadcastStart ?? upTo, removals.get(key)?.from ?? upTo);
    removals.put(key, { at: this.access.clock.now(), step: 0, from, upTo });
    users.remove(userId);
    log.hide(own, { isErased: true });
    log.hide(stateTopic(userId));
    return { from: prunedUpTo + 1, upTo: head };
  }

  async #erase(userId: string, hidden: Span): Promise<Erased> {
    const tally: Tally = { devices: 0, memberships: 0, scheduled: 0 };
    this.#tallies.set(userId, tally);
    try {
      const messages = await this.access.walking(() => this.parts.log.countMessages(personalTopic(userId), hidden));
      await this.end(userId);
      return { messages, ...tally };
    } finally {
      this.#tallies.delete(userId);
    }
  }
}

function keyOf(userId: string): RemovalKey {
  return ['user', userId, ''];
}
