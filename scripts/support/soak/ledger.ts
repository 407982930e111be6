/**
 * What was accepted and what has arrived, message by message. A message contains a number of its sender, which
 * identifies each delivery; the service's `seq` shows whether it came once and in order.
 */

/** A user whose deliveries are checked. */
export class Recipient {
  /** Numbers accepted for this recipient, with the `seq` of the answer if it had one. */
  readonly #expected = new Map<number, number | undefined>();
  /** Numbers that have arrived, with their `seq`. */
  readonly #got = new Map<number, number>();
  /** Of the current connection. */
  #last = new Map<string, number>();
  readonly #faults: string[] = [];
  delivered = 0;

  constructor(
    readonly name: string,
    private readonly userId: string,
    /** Is it promised everything? A client without a device whose connection breaks is not. */
    private isPromised: boolean,
  ) {}

  /** A new connection begins: unacknowledged messages may come again. */
  connected(): void {
    this.#last = new Map();
  }

  expect(n: number, seq: number | undefined): void {
    if (this.isPromised) this.#expected.set(n, seq);
  }

  /** `n`: `undefined` for what is not counted, such as changes of messages; it has a `seq` all the same. */
  take(topic: string, seq: number, n: number | undefined): void {
    const last = this.#last.get(topic) ?? 0;
    if (seq <= last) this.#complain(`got ${topic} ${seq} after ${last} on one connection`);
    this.#last.set(topic, seq);
    if (topic.startsWith('@') && topic !== `@${this.userId}`) this.#complain(`got ${topic}, which is not theirs`);
    if (n === undefined) return;
    this.delivered += 1;
    const before = this.#got.get(n);
    if (before !== undefined && before !== seq) this.#complain(`got message ${n} as ${topic} ${before} and ${seq}`);
    this.#got.set(n, seq);
  }

  /** Nothing is promised any more: the connection broke, and without a device its buffer may be lost. */
  release(): void {
    this.isPromised = false;
    this.#expected.clear();
  }

  get missing(): number[] {
    return [...this.#expected.keys()].filter((n) => !this.#got.has(n));
  }

  get expected(): number {
    return this.#expected.size;
  }

  /** A sentence for each fault; those about missing messages only make sense when all should have arrived. */
  findFaults(): string[] {
    const lost = this.missing.map((n) => `${this.name} has lost message ${n}, which was accepted`);
    const displaced = [...this.#expected]
      .filter(([n, seq]) => seq !== undefined && this.#got.has(n) && this.#got.get(n) !== seq)
      .map(([n, seq]) => `${this.name} got message ${n} as ${this.#got.get(n)}, and the sender was told ${seq}`);
    return [...this.#faults, ...lost, ...displaced];
  }

  #complain(what: string): void {
    this.#faults.push(`${this.name} ${what}`);
  }
}

export class Ledger {
  readonly #byUser = new Map<string, Recipient[]>();
  readonly #members = new Map<string, ReadonlySet<string>>();
  readonly #faults: string[] = [];
  #numbers = 0;
  /** Messages that were accepted. */
  accepted = 0;

  enter(userId: string, recipient: Recipient): void {
    this.#byUser.set(userId, [...(this.#byUser.get(userId) ?? []), recipient]);
  }

  setMembers(topic: string, userIds: readonly string[]): void {
    this.#members.set(topic, new Set(userIds));
  }

  /** The number of the next message. */
  next(): number {
    this.#numbers += 1;
    return this.#numbers;
  }

  /** The service has accepted message `n` for a topic. */
  accept(n: number, topic: string, seq: number | undefined): void {
    this.accepted += 1;
    for (const recipient of this.#recipientsOf(topic)) recipient.expect(n, seq);
  }

  #recipientsOf(topic: string): Recipient[] {
    if (topic.startsWith('@')) return this.#byUser.get(topic.slice(1)) ?? [];
    const members = this.#members.get(topic);
    const all = [...this.#byUser];
    return all.filter(([userId]) => topic === '*' || members?.has(userId)).flatMap(([, recipients]) => recipients);
  }

  complain(sentence: string): void {
    this.#faults.push(sentence);
  }

  get delivered(): number {
    return this.#sum(({ delivered }) => delivered);
  }

  get expected(): number {
    return this.#sum(({ expected }) => expected);
  }

  get missing(): number {
    return this.#sum(({ missing }) => missing.length);
  }

  #sum(amountOf: (recipient: Recipient) => number): number {
    return [...this.#byUser.values()].flat().reduce((sum, recipient) => sum + amountOf(recipient), 0);
  }

  findFaults(): string[] {
    return [...this.#faults, ...[...this.#byUser.values()].flat().flatMap((recipient) => recipient.findFaults())];
  }
}
