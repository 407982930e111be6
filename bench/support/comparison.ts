import type { Section } from './report';
import type { Round } from './rounds';
import { BY_HAND, BY_HAND_AGAIN, type Contestant, RAW_WS, TIDINGS } from './server-kinds';
import { median } from './statistics';

/** What the service must reach against a peer. */
export interface Target {
  readonly text: string;
  isMet(ours: number, peers: number): boolean;
}

/** One line of a comparison: its title, format and target. */
export interface Figure<Key extends string> {
  readonly key: Key;
  readonly title: string;
  readonly digits: number;
  /** Small figures with a fixed share are compared by difference, others by ratio, others not at all. */
  readonly comparedBy?: 'ratio' | 'difference';
  readonly target?: Target;
}

/** Two servers that are compared: the first with the second. */
type Opponents = readonly [Contestant, Contestant];

/** Which servers have a column in a table, and which are compared. */
export interface Layout {
  readonly columns: readonly Contestant[];
  /** The first pair is the one that a target judges. */
  readonly pairs: readonly [Opponents, ...Opponents[]];
  readonly noise: Opponents;
}

const AGAINST_BY_HAND: Layout = {
  columns: [TIDINGS, BY_HAND, RAW_WS],
  pairs: [
    [TIDINGS, BY_HAND],
    [TIDINGS, RAW_WS],
  ],
  noise: [BY_HAND_AGAIN, BY_HAND],
};

interface Bound {
  /** Which of ours the target applies to, if the table has more than one. */
  readonly of?: Contestant;
  readonly peer?: Contestant;
  /** In the figure's unit. */
  readonly extra?: number;
  readonly extraText?: string;
}

/** At most as much as the peer (by default by hand) uses, times `factor`, plus `extra`. */
export function atMostPeerTimes(factor: number, bound: Bound = {}): Target {
  const { of, peer = BY_HAND, extra = 0, extraText = '' } = bound;
  return {
    text: `${of === undefined ? '' : `${of.label} `}≤ ${factor.toFixed(1)} × ${peer.label}${extraText}`,
    isMet: (ours, peers) => ours <= peers * factor + extra,
  };
}

/** At least as much as the peer does, times `factor`. */
export function atLeastPeerTimes(factor: number, peer: Contestant): Target {
  return { text: `≥ ${factor} × ${peer.label}`, isMet: (ours, peers) => ours >= peers * factor };
}

/** Makes the table of a scenario: medians of all valid samples, and each pair compared within its round. */
export function compareServers<Key extends string>(
  title: string,
  figures: readonly Figure<Key>[],
  rounds: readonly Round<Key>[],
  layout: Layout = AGAINST_BY_HAND,
): Section {
  return {
    title: `${title} (rounds: ${rounds.length})`,
    header: createHeader(layout),
    rows: figures.map((figure) => createRow(figure, rounds, layout)),
    faults: listFaults(title, rounds),
  };
}

function createHeader({ columns, pairs, noise }: Layout): string[] {
  const show = ([ours, peer]: Opponents) => `${ours.label} : ${peer.label}`;
  return [
    'figure',
    ...columns.map(({ label }) => label),
    ...pairs.map(show),
    `noise (${show(noise)})`,
    'target',
    'met',
  ];
}

function createRow<Key extends string>(
  figure: Figure<Key>,
  rounds: readonly Round<Key>[],
  { columns, pairs, noise }: Layout,
): string[] {
  return [
    figure.title,
    ...columns.map(({ label }) => showMedian(figure, rounds, label)),
    ...[...pairs, noise].map((opponents) => showComparison(figure, findPairs(figure.key, rounds, opponents))),
    figure.target?.text ?? '',
    judge(figure, findPairs(figure.key, rounds, pairs[0])),
  ];
}

type Pair = readonly [number, number];

function findValue<Key extends string>(key: Key, round: Round<Key>, label: string): number[] {
  const sample = round.get(label);
  return sample === undefined || sample.faults.length > 0 ? [] : [sample.figures[key]];
}

function findPairs<Key extends string>(key: Key, rounds: readonly Round<Key>[], opponents: Opponents): Pair[] {
  return rounds.flatMap((round) => {
    const [first, second] = opponents.flatMap(({ label }) => findValue(key, round, label));
    return first === undefined || second === undefined ? [] : [[first, second] as const];
  });
}

function showMedian<Key extends string>(figure: Figure<Key>, rounds: readonly Round<Key>[], label: string): string {
  const values = rounds.flatMap((round) => findValue(figure.key, round, label));
  return values.length === 0 ? '–' : median(values).toFixed(figure.digits);
}

function showComparison(figure: Figure<string>, pairs: readonly Pair[]): string {
  if (figure.comparedBy === undefined) return '';
  if (figure.comparedBy === 'ratio')
    return showRange(
      pairs.map(([a, b]) => a / b),
      (ratio) => ratio.toFixed(2),
    );
  return showRange(
    pairs.map(([a, b]) => a - b),
    (difference) => `${difference < 0 ? '−' : '+'}${Math.abs(difference).toFixed(figure.digits)}`,
  );
}

function showRange(values: readonly number[], format: (value: number) => string): string {
  if (values.length === 0) return '–';
  return `${format(median(values))} (${format(Math.min(...values))} … ${format(Math.max(...values))})`;
}

function judge(figure: Figure<string>, pairs: readonly Pair[]): string {
  const { target } = figure;
  if (target === undefined) return '';
  if (pairs.length === 0) return '–';
  const metCount = pairs.filter(([ours, peers]) => target.isMet(ours, peers)).length;
  return `${metCount * 2 > pairs.length ? 'yes' : 'NO'} (${metCount} of ${pairs.length} rounds)`;
}

function listFaults<Key extends string>(title: string, rounds: readonly Round<Key>[]): string[] {
  return rounds.flatMap((round, i) =>
    [...round].flatMap(([label, { faults }]) =>
      faults.length === 0 ? [] : [`${title}, round ${i + 1}, ${label} is void: ${faults.join('; ')}`],
    ),
  );
}
