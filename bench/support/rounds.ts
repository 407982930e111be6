const SAMPLE_TIMEOUT_MS = 120_000;

/** What one server showed in one round. */
export interface Sample<Key extends string> {
  readonly figures: Readonly<Record<Key, number>>;
  /** Any fault makes the sample void. */
  readonly faults: readonly string[];
}

/** What each contestant showed in one round, by label. */
export type Round<Key extends string> = ReadonlyMap<string, Sample<Key>>;

interface Labelled {
  readonly label: string;
}

/** Measures all subjects in turn, `count` times: A B C, then C B A, so that a drift of the machine hits all alike. */
export async function runRounds<Subject extends Labelled, Key extends string>(
  title: string,
  subjects: readonly Subject[],
  { count, measure }: { readonly count: number; measure(subject: Subject): Promise<Sample<Key>> },
): Promise<Round<Key>[]> {
  const rounds: Round<Key>[] = [];
  for (let i = 0; i < count; i += 1) {
    process.stderr.write(`${title}: round ${i + 1} of ${count}\n`);
    const round = new Map<string, Sample<Key>>();
    for (const subject of i % 2 === 0 ? subjects : subjects.toReversed()) {
      round.set(subject.label, await withDeadline(`${title}, ${subject.label}`, measure(subject)));
    }
    rounds.push(round);
  }
  return rounds;
}

/** @throws Error when the work takes longer than any sample should: a hanging server must not hang the run. */
export async function withDeadline<Result>(what: string, work: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no end in sight`)), SAMPLE_TIMEOUT_MS);
  });
  return Promise.race([work, expired]).finally(() => clearTimeout(timer));
}
