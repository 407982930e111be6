/** What was asked for and what it must lead to: the logs, who is in which topic, and what each message is by now. */

/** `unsure`: things that happened at once decide. */
type Fate = 'alive' | 'dead' | 'unsure';

export interface Said {
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
  /** Counts what was said, over all topics. */
  readonly at: number;
  readonly exceptUserId: string | undefined;
  readonly collapseKey: string | undefined;
  readonly expiresAt: number;
  /** Who gets it, and who may get it. */
  readonly must: ReadonlySet<string>;
  readonly may: ReadonlySet<string>;
  data: unknown;
  fate: Fate;
  /** When its state, or its data, was changed last; before that it may have been in a state that nobody is told of. */
  changedAt: number;
  /** Is it certain to be unread? Only then it is replaced for certain. */
  isUnread: boolean | undefined;
}

export class History {
  readonly messages = new Map<string, Said>();
  /** By topic, who is in it; of others it is not certain. */
  readonly members = new Map<string, Set<string>>();
  readonly violations: string[] = [];
  #at = 0;

  get now(): number {
    return this.#at;
  }

  /** Something happens to it. */
  touch(said: Said): void {
    this.#at += 1;
    said.changedAt = this.#at;
  }

  violate(sentence: string): void {
    if (this.violations.length < 20) this.violations.push(sentence);
  }

  add(message: Omit<Said, 'at' | 'fate' | 'isUnread' | 'changedAt'>): Said {
    const known = this.messages.get(message.id);
    if (known !== undefined) {
      if (known.seq !== message.seq) this.violate(`I5: ${message.id} has two places`);
      return known;
    }
    this.#at += 1;
    const said: Said = { ...message, at: this.#at, changedAt: 0, fate: 'alive', isUnread: true };
    this.#replace(said);
    this.messages.set(said.id, said);
    return said;
  }

  /** A message with a collapse key takes the place of the unread one that has it. */
  #replace({ topic, collapseKey }: Said): void {
    if (collapseKey === undefined) return;
    for (const earlier of this.messages.values()) {
      if (earlier.topic !== topic || earlier.collapseKey !== collapseKey || earlier.fate === 'dead') continue;
      if (earlier.isUnread === true && earlier.fate === 'alive') earlier.fate = 'dead';
      else if (earlier.isUnread !== false) earlier.fate = 'unsure';
    }
  }

  expire(now: number): void {
    for (const said of this.messages.values()) if (said.expiresAt <= now) said.fate = 'dead';
  }

  membersOf(topic: string): Set<string> {
    const members = this.members.get(topic) ?? new Set();
    this.members.set(topic, members);
    return members;
  }
}
