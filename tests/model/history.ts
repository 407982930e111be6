/**
 * What was requested and its effects: the logs, and the current state of each message. The order within a burst is
 * unknown: effects are entered when the burst has ended, and contradictions make them uncertain.
 */

import { enter, groupBy } from './group';

/** `unsure`: depends on things that happened at once. */
type Fate = 'alive' | 'dead' | 'unsure';

/** Who receives a message, and who may receive it. */
export interface Audience {
  readonly must: ReadonlySet<string>;
  readonly may: ReadonlySet<string>;
}

export interface Saying {
  readonly id: string;
  readonly topic: string;
  /** 0: only the service knows so far. */
  readonly seq: number;
  readonly collapseKey: string | undefined;
  readonly expiresAt: number;
  readonly data: unknown;
  readonly audience: () => Audience;
}

/** When something of a message may have been changed; 0: never. */
interface Changes {
  firstAt: number;
  /** When a change was last sent to everybody who was online. */
  toldAt: number;
}

/** Has it been changed, and only before this? */
export function isOnlyBefore({ firstAt, toldAt }: Changes, time: number): boolean {
  return firstAt > 0 && firstAt <= time && toldAt <= time;
}

export interface Said extends Audience {
  readonly id: string;
  readonly topic: string;
  seq: number;
  /** Counts sends, over all topics. */
  readonly at: number;
  readonly collapseKey: string | undefined;
  readonly expiresAt: number;
  /** `undefined`: one of several. */
  data: unknown;
  fate: Fate;
  /** Users who come later are not notified of earlier changes. */
  readonly changes: Readonly<Record<Changing, Changes>>;
  /** Is it certain to be unread? Only then it is certain to be replaced. */
  isUnread: boolean | undefined;
  /** Was it ever archived? Then bulk changes skip it. */
  mayBeArchived: boolean;
}

type Changing = 'data' | 'isUnread';
type Aspect = Changing | 'fate';

interface Effect {
  readonly said: Said;
  readonly aspect: Aspect;
  readonly value: unknown;
  /** Are devices certain to be notified of it? */
  readonly isTold: boolean;
}

const RECENT = 40;

export class History {
  readonly messages = new Map<string, Said>();
  readonly violations: string[] = [];
  readonly #logs = new Map<string, Said[]>();
  readonly #keyed = new Map<string, Said[]>();
  #mortal: Said[] = [];
  #recent: Said[] = [];
  #at = 0;
  /** Sequence numbers that are not noted yet. */
  readonly #learned = new Map<string, number>();
  /** Of this burst. */
  #sayings: Saying[] = [];
  #effects: Effect[] = [];
  readonly #doubtedKeys = new Set<string>();

  get now(): number {
    return this.#at;
  }

  violate(sentence: string): void {
    if (this.violations.length < 20) this.violations.push(sentence);
  }

  /** The latest existing ones: older ones are mostly past changing. */
  recent(count: number): Said[] {
    return this.#recent.filter(({ fate, seq }) => fate === 'alive' && seq > 0).slice(-count);
  }

  /** The messages of a topic. */
  of(topic: string): readonly Said[] {
    return this.#logs.get(topic) ?? [];
  }

  note(saying: Saying): void {
    this.#sayings.push(saying);
  }

  /** A device has received it, and so knows its seq. */
  learn(id: string, seq: number): void {
    const said = this.messages.get(id);
    if (said === undefined) this.#learned.set(id, seq);
    else if (said.seq === 0) said.seq = seq;
  }

  /** Something has changed, or may have. */
  affect(said: Said, aspect: Aspect, { value, isTold = true }: { value: unknown; isTold?: boolean }): void {
    this.#effects.push({ said, aspect, value, isTold });
  }

  /** A message may exist that has replaced the one with the key. */
  doubtKey(topic: string, key: string): void {
    this.#doubtedKeys.add(keyOf(topic, key));
  }

  /** The burst is over. */
  settle(): void {
    const marked = new Set(this.#effects.filter(({ aspect }) => aspect === 'isUnread').map(({ said }) => said));
    for (const saying of this.#sayings.splice(0).toSorted((one, other) => one.seq - other.seq))
      this.#add(saying, marked);
    for (const effects of groupBy(this.#effects.splice(0), ({ said }) => said).values()) this.#apply(effects);
    for (const key of this.#doubtedKeys) for (const said of this.#keyed.get(key) ?? []) doubt(said);
    this.#doubtedKeys.clear();
  }

  #add({ audience, ...saying }: Saying, marked: ReadonlySet<Said>): void {
    const known = this.messages.get(saying.id);
    if (known !== undefined) {
      if (known.seq !== saying.seq) this.violate(`I5: ${saying.id} has two places`);
      return;
    }
    this.#at += 1;
    const said: Said = {
      ...{ ...saying, ...audience() },
      at: this.#at,
      changes: { data: { firstAt: 0, toldAt: 0 }, isUnread: { firstAt: 0, toldAt: 0 } },
      fate: 'alive',
      isUnread: true,
      mayBeArchived: false,
    };
    if (said.seq === 0) said.seq = this.#learned.get(said.id) ?? 0;
    this.#learned.delete(said.id);
    this.#replace(said, marked);
    this.messages.set(said.id, said);
    enter(this.#logs, said.topic, said);
    if (said.expiresAt < Number.POSITIVE_INFINITY) this.#mortal.push(said);
    this.#recent = [...this.#recent.slice(1 - RECENT), said];
  }

  /** A message with a collapse key replaces the unread one that has it. */
  #replace(said: Said, marked: ReadonlySet<Said>): void {
    if (said.collapseKey === undefined) return;
    const key = keyOf(said.topic, said.collapseKey);
    for (const earlier of this.#keyed.get(key) ?? []) {
      if (earlier.fate === 'dead') continue;
      if (marked.has(earlier)) doubt(earlier);
      else if (earlier.isUnread === true && earlier.fate === 'alive') earlier.fate = 'dead';
      else if (earlier.isUnread !== false) doubt(earlier);
    }
    enter(this.#keyed, key, said);
  }

  #apply(effects: readonly Effect[]): void {
    for (const { said, aspect, value, isTold } of effects) {
      const isAlone = effects.filter((one) => one.aspect === aspect).length === 1;
      if (aspect === 'fate') said.fate = said.fate === 'dead' || value === 'dead' ? 'dead' : 'unsure';
      else {
        this.#at += 1;
        const changes = said.changes[aspect];
        if (changes.firstAt === 0) changes.firstAt = this.#at;
        if (isTold) changes.toldAt = this.#at;
        if (aspect === 'data') said.data = isAlone ? value : undefined;
        else said.isUnread = isAlone ? (value as boolean | undefined) : undefined;
      }
    }
  }

  expire(now: number): void {
    for (const said of this.#mortal) if (said.expiresAt <= now) said.fate = 'dead';
    this.#mortal = this.#mortal.filter(({ fate }) => fate !== 'dead');
  }

  /** Everything sent to a topic is gone with it. */
  forget(topic: string): void {
    for (const said of this.of(topic)) said.fate = 'dead';
  }
}

function doubt(said: Said): void {
  if (said.fate === 'alive') said.fate = 'unsure';
}

function keyOf(topic: string, key: string): string {
  return `${topic} ${key}`;
}
