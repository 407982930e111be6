/** One installation of a client: what it received, what it shows, and what it acknowledges. */
import type { History, Said } from './history';
import { type Fields, Link, type TransportName } from './link';
import type { Members } from './members';

interface Shown {
  isSeen: boolean;
  isRead: boolean;
  isArchived: boolean;
  data?: unknown;
}

interface Place {
  readonly topic: string;
  readonly seq: number;
}

export class Device {
  link: Link | undefined;
  node = 0;
  /** Acknowledges everything as it comes, or only when it is told to. */
  isPrompt = true;
  /** Up to there the service did not know it; `undefined`: it still does not. */
  knownSince: number | undefined;
  readonly got = new Set<string>();
  /** Has one of its connections ended silently? */
  wasCut = false;
  /** What may have been lost in transit to a client that acknowledges nothing. */
  readonly excused = new Set<string>();
  readonly shown = new Map<string, Shown>();
  readonly #waiting = new Map<string, Place & { id: string }>();
  /** Of this connection. */
  readonly #last = new Map<string, number>();
  #acks: Promise<unknown>[] = [];
  #isAckDue = false;
  #isExcused = false;
  /** Ids that nobody has looked at yet. */
  #fresh: string[] = [];
  /** Is something in this burst happening to its connection? */
  isTaken = false;

  constructor(
    readonly userId: string,
    readonly name: string | undefined,
    readonly transport: TransportName,
    private readonly history: History,
  ) {}

  get label(): string {
    return `${this.userId}/${this.name ?? '-'}`;
  }

  get isHealthy(): boolean {
    return this.link !== undefined && !this.link.isEnded && !this.link.isFrozen;
  }

  open(port: number, token: string): Link {
    this.#last.clear();
    const { name: device, transport } = this;
    const link: Link = new Link({
      port,
      transport,
      token,
      device,
      onFrame: (event, fields) => {
        if (this.link === link) this.#take(event, fields);
      },
    });
    this.link = link;
    return link;
  }

  #take(event: string, fields: Fields): void {
    if (typeof fields['seq'] === 'number') this.#place(event, fields);
    if (event === 'message') this.#message(fields);
    if (event === 'state') this.#state(fields);
    const concerned = this.shown.get(String(fields['ref']));
    if (event === 'message:updated' && concerned !== undefined) concerned.data = fields['data'];
  }

  #place(event: string, fields: Fields): void {
    const { topic, seq, id } = fields as unknown as Place & { id: string };
    const before = this.#last.get(topic) ?? 0;
    if (seq <= before) this.history.violate(`I3: ${this.label} got ${topic} ${seq} (${event}) after ${before}`);
    this.#last.set(topic, seq);
    if (this.name === undefined) return;
    this.#waiting.set(topic, { topic, seq, id });
    if (this.isPrompt) this.#acknowledgeSoon();
  }

  #message(fields: Fields): void {
    const { id, topic, data, ref } = fields as { id: string; topic: string; data: unknown; ref?: string };
    if (ref !== undefined || data === null || data === undefined) {
      this.history.violate(`${this.label} got a message without content: ${JSON.stringify(fields)}`);
      return;
    }
    if (topic.startsWith('@') && topic !== `@${this.userId}`) this.history.violate(`I4: ${this.label} got ${topic}`);
    this.got.add(id);
    this.#fresh.push(id);
    this.history.learn(id, Number(fields['seq']));
    const shown = this.shown.get(id) ?? { isSeen: false, isRead: false, isArchived: false };
    shown.data = data;
    this.shown.set(id, shown);
  }

  #state(fields: Fields): void {
    const { ids, topic, upTo, state } = fields as { ids?: string[]; topic?: string; upTo?: number; state: string };
    if (ids !== undefined) for (const id of ids) this.#change(id, state);
    else {
      for (const said of this.history.of(topic ?? '')) {
        if (upTo !== undefined && (said.seq === 0 || said.seq > upTo)) continue;
        if (this.shown.get(said.id)?.isArchived !== true) this.#change(said.id, state);
      }
    }
  }

  #change(id: string, state: string): void {
    const shown = this.shown.get(id) ?? { isSeen: false, isRead: false, isArchived: false };
    this.shown.set(id, shown);
    shown.isSeen = true;
    if (state === 'read') Object.assign(shown, { isRead: true, isArchived: false });
    if (state === 'archived') shown.isArchived = true;
    if (state === 'unread') Object.assign(shown, { isRead: false, isArchived: false });
  }

  /** Messages that arrive in one turn are acknowledged together. */
  #acknowledgeSoon(): void {
    if (this.#isAckDue) return;
    this.#isAckDue = true;
    setImmediate(() => {
      this.#isAckDue = false;
      if (this.isPrompt && this.isHealthy) this.acknowledge();
    });
  }

  takeFresh(): readonly string[] {
    return this.#fresh.splice(0);
  }

  /** Acknowledges what has arrived, as far as it has. */
  acknowledge(): void {
    for (const { topic, seq } of this.#waiting.values()) {
      if (this.link !== undefined) this.#acks.push(this.link.call('ack', { topic, seq }));
    }
    this.#waiting.clear();
  }

  async acknowledged(): Promise<void> {
    await Promise.all(this.#acks.splice(0));
  }

  /** Resolves when everything that the service has written to it has arrived. */
  async settle(): Promise<void> {
    if (!this.isHealthy) return;
    await this.link?.call('ping');
    if (this.isPrompt && this.isHealthy) this.acknowledge();
    await this.acknowledged();
  }

  /** It has ended: what comes now belongs to another connection. */
  lost(isAbrupt: boolean): void {
    this.link = undefined;
    this.#waiting.clear();
    this.#acks = [];
    if (isAbrupt) this.excuse();
  }

  /** A connection has ended silently: what was written to it may be lost, unless it is requested. */
  excuse(): void {
    this.wasCut = true;
    this.#isExcused = true;
  }

  /** The burst has ended: now it is known what may have been written meanwhile. */
  noteExcused(): void {
    if (!this.#isExcused) return;
    this.#isExcused = false;
    if (this.name !== undefined) return;
    for (const { id } of this.history.messages.values()) if (!this.got.has(id)) this.excused.add(id);
  }

  /**
   * What it should have received by now, and has not.
   * @param isFirst is it the user's first device? Then everything that is waiting is for it.
   */
  missing(isFirst: boolean, members: Pick<Members, 'has'>): Said[] {
    const { knownSince } = this;
    if (knownSince === undefined) return [];
    return [...this.history.messages.values()].filter((said) => {
      if (said.fate !== 'alive' || !said.must.has(this.userId)) return false;
      if (said.at <= knownSince && !(isFirst && said.topic === `@${this.userId}`)) return false;
      if (isNamed(said.topic) && !members.has(this.userId)) return false;
      return !this.got.has(said.id) && !this.excused.has(said.id);
    });
  }
}

export function isNamed(topic: string): boolean {
  return topic !== '*' && !topic.startsWith('@');
}
