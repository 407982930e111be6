import { isInGap, type Left, MAX_GAPS, passGaps, rejoined } from '../../../../services/storage/rules/gaps';
import { range } from '../../../support/service';

const log = (head: number, prunedUpTo = 0) => ({ head, prunedUpTo });

describe('a user who rejoins a topic', () => {
  it('begins at the head when nothing of an earlier membership is known, or left of its messages', () => {
    expect(rejoined(undefined, log(7))).toEqual({ start: 7, gaps: [] });
    expect(rejoined({ start: 0, gaps: [], leftAt: 5 }, log(7, 5))).toEqual({ start: 7, gaps: [] });
    expect(rejoined({ start: 5, gaps: [], leftAt: 5 }, log(7))).toEqual({ start: 7, gaps: [] });
    expect(rejoined({ start: 0, gaps: [], leftAt: 1 }, log(100_002))).toEqual({ start: 100_002, gaps: [] });
  });

  it('continues where the first membership began, except for what was sent meanwhile', () => {
    const left = { start: 1, gaps: [{ from: 3, upTo: 4 }], leftAt: 6 };
    expect(rejoined(left, log(9))).toEqual({
      start: 1,
      gaps: [
        { from: 3, upTo: 4 },
        { from: 7, upTo: 9 },
      ],
    });
    expect(rejoined(left, log(9, 4))).toEqual({ start: 1, gaps: [{ from: 7, upTo: 9 }] });
    expect(rejoined(left, log(6))).toEqual({ start: 1, gaps: [{ from: 3, upTo: 4 }] });
  });

  it('however often, costs a limited number of gaps, and never receives what lies in any of them', () => {
    let left: Left = { start: 0, gaps: [], leftAt: 1 };
    const outside = new Set<number>();
    for (const n of range(1, 10_000)) {
      // One message while the user is not a member, one while the user is.
      outside.add(2 * n);
      left = { ...rejoined(left, log(2 * n)), leftAt: 2 * n + 1 };
      expect(left.gaps.length).toBeLessThanOrEqual(MAX_GAPS);
    }
    for (const seq of outside) expect(isInGap(left.gaps, seq)).toBe(true);
    // Of the last memberships nothing is lost.
    for (const n of range(9_990, 10_000)) expect(isInGap(left.gaps, 2 * n - 1)).toBe(false);
  });
});

describe('a position', () => {
  const gaps = [
    { from: 3, upTo: 4 },
    { from: 6, upTo: 9 },
  ];

  it.each([
    [0, 0, 2],
    [1, 1, 2],
    [2, 4, 1],
    [3, 4, 1],
    [4, 4, 1],
    [5, 9, 0],
    [12, 12, 0],
  ])('%i before gaps is %i, and has %i of them after it', (place, seq, after) => {
    expect(passGaps(place, gaps)).toEqual({ seq, gaps: gaps.slice(gaps.length - after) });
  });
});
