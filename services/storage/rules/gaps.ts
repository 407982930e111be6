/**
 * Places of a topic that lie between leaving it and joining it again. They are not for the user; what was said before the
 * user left still is. The same in every engine.
 */
import type { Span } from './slot-row';

/**
 * Gaps that are kept of one membership. Whoever leaves and joins more often has the two oldest made one: of what was said
 * between them the devices get no more, and of what lies in them they never get anything.
 */
export const MAX_GAPS = 16;

/** Whoever comes back after more messages than that begins at the head, like somebody new. */
export const MAX_GAP_PLACES = 100_000;

/** Topics of a user that are remembered after the user has left; of one that was left before them nothing is left. */
export const MAX_LEFT_TOPICS = 100;

/** A membership that has ended. */
export interface Left {
  /** Where it first began. */
  readonly start: number;
  readonly gaps: readonly Span[];
  /** Last `seq` of the topic when the user left. */
  readonly leftAt: number;
}

/**
 * What a membership begins with that goes on with an earlier one.
 * @param log where the topic stands, and what is gone from its beginning: nobody has to skip that.
 */
export function rejoined(
  left: Left | undefined,
  log: { readonly head: number; readonly prunedUpTo: number },
): { readonly start: number; readonly gaps: readonly Span[] } {
  const { head, prunedUpTo } = log;
  const lowest = Math.max(prunedUpTo, left?.start ?? 0);
  // Nothing is left of what was said then, or nothing was; or too much has been said since.
  if (left === undefined || left.leftAt <= lowest || head - left.leftAt > MAX_GAP_PLACES)
    return { start: head, gaps: [] };
  const gap = { from: left.leftAt + 1, upTo: head };
  const gaps = [...left.gaps, gap].filter(({ from, upTo }) => from <= upTo && upTo > prunedUpTo);
  return { start: left.start, gaps: bounded(gaps) };
}

function bounded(gaps: readonly Span[]): Span[] {
  const [first, second, ...rest] = gaps;
  if (first === undefined || second === undefined || gaps.length <= MAX_GAPS) return [...gaps];
  return bounded([{ from: first.from, upTo: second.upTo }, ...rest]);
}

export function isInGap(gaps: readonly Span[], seq: number): boolean {
  return gaps.some(({ from, upTo }) => from <= seq && seq <= upTo);
}

/** The same place after the gap that follows it, and what still has to be skipped from there on. */
export function passGaps(
  place: number,
  gaps: readonly Span[],
): { readonly seq: number; readonly gaps: readonly Span[] } {
  let seq = place;
  for (const { from, upTo } of gaps) if (from <= seq + 1) seq = Math.max(seq, upTo);
  return { seq, gaps: gaps.filter(({ from }) => from > seq) };
}
