const SAMPLE_TIMEOUT_MS = 120_000;

/** The results of one server in one round. */
export interface Sample<Key extends string> {
  readonly figures: Readonly<Record<Key, number>>;
  /** Any fault makes the sample void. */
  readonly faults: readonly string[];
}

/** The results of each contestant in one round, by label. */
export type Round<Key extends string> = ReadonlyMap<string, Sample<Key>>;

interface Labelled {
  readonly label: string;
}

/**
 * Measures all subjects in turn, `count` times: A B C, then C B A, so that a drift of the machine affects all alike.
 */
export function runRounds<Subject extends Labelled, Key extends string>(
  title: string,
  subjects: readonly Subject[],
  { count, measure }: { readonly count: number; measure(subject: Subject): Promise<Sample<Key>> },
): Promise<Round<Key>[]> {
  const orders = Array.from({ length: count }, (_, i) => inOrderOf(i, subjects));
  return repeatRounds(title, orders, async (order) => {
    const round = new Map<string, Sample<Key>>();
    for (const subject of order) {
      round.set(subject.label, await withDeadline(`${title}, ${subject.label}`, measure(subject)));
    }
    return round;
  });
}

/** The first in one round is the last in the next. */
export function inOrderOf<Subject>(round: number, subjects: readonly Subject[]): readonly Subject[] {
  return round % 2 === 0 ? subjects : subjects.toReversed();
}

/** Measures one round for each of the turns, and says which one is running. */
export async function repeatRounds<Turn, Key extends string>(
  title: string,
  turns: readonly Turn[],
  measureRound: (turn: Turn) => Promise<Round<Key>>,
): Promise<Round<Key>[]> {
  const rounds: Round<Key>[] = [];
  for (const [i, turn] of turns.entries()) {
    process.stderr.write(`${title}: round ${i + 1} of ${turns.length}\n`);
    rounds.push(await measureRound(turn));
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
