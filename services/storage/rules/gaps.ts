/** Places of a topic between leaving and joining again. They are not for the user; earlier messages still are. */
import type { Span } from './slot-row';

/** Gaps kept of one membership. With more, the two oldest are joined: devices lose the messages in between. */
export const MAX_GAPS = 16;

/** A user who returns after more messages starts at the head, like a new one. */
export const MAX_GAP_PLACES = 100_000;

/** Topics a user has left are remembered up to this number; the earliest are forgotten. */
export const MAX_LEFT_TOPICS = 100;

/** A membership that may have ended. */
export interface Stay {
  readonly start: number;
  readonly gaps?: readonly Span[] | undefined;
  readonly leftAt?: number | undefined;
}

/** A membership that has ended. */
export interface Left {
  /** Where it first began. */
  readonly start: number;
  readonly gaps: readonly Span[];
  /** Last `seq` of the topic when the user left. */
  readonly leftAt: number;
}

/** How a membership starts that may continue an earlier one. Removed messages need no gap. */
export function rejoined(
  left: Left | undefined,
  log: { readonly head: number; readonly prunedUpTo: number },
): { readonly start: number; readonly gaps: readonly Span[] } {
  const { head, prunedUpTo } = log;
  const lowest = Math.max(prunedUpTo, left?.start ?? 0);
  // Nothing was sent then or is left of it, or too much has been sent since.
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

/** The place after the gap that follows it, and the gaps after that. */
export function passGaps(
  place: number,
  gaps: readonly Span[],
): { readonly seq: number; readonly gaps: readonly Span[] } {
  let seq = place;
  for (const { from, upTo } of gaps) if (from <= seq + 1) seq = Math.max(seq, upTo);
  return { seq, gaps: gaps.filter(({ from }) => from > seq) };
}

/** Which remembered topics make room for one more; `left`: in the order in which they were left. */
export function forgottenFor<One>(left: readonly One[]): readonly One[] {
  return left.slice(0, Math.max(0, left.length + 1 - MAX_LEFT_TOPICS));
}
