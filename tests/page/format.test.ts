import { formatAge, formatDuration, formatMs, plural } from '../../page/src/format';

const NOW = Date.parse('2026-05-01T12:00:00Z');
const secondsAgo = (seconds: number) => formatAge(new Date(NOW - seconds * 1_000), NOW);

it.each([
  [-30, 'just now'],
  [9.9, 'just now'],
  [10, '10 s ago'],
  [59.9, '59 s ago'],
  [60, '1 min ago'],
  [150, '2 min ago'],
  [3_600, '1 h ago'],
  [6.9 * 86_400, '6 d ago'],
])('what was %d s ago is %s', (seconds, text) => {
  expect(secondsAgo(seconds)).toBe(text);
});

it('gives the date for what is older than a week', () => {
  expect(secondsAgo(8 * 86_400)).toBe(new Date(NOW - 8 * 86_400_000).toLocaleDateString());
});

it('shows durations and counts in words', () => {
  expect([0, 59, 3_661, -86_400].map(formatDuration)).toEqual(['0 s', '59 s', '1 h 1 min', '1 d']);
  expect([9.96, 100.4].map(formatMs)).toEqual(['10.0 ms', '100 ms']);
  expect([1, 2].map((count) => plural(count, 'event'))).toEqual(['1 event', '2 events']);
});
