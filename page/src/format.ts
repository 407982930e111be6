/** Times and counts for people. */

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const;
const CLOCK = { hourCycle: 'h23', hour: '2-digit', minute: '2-digit', second: '2-digit' } as const;

type Moment = string | number | Date;

export function formatTime(time: Moment): string {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString() : date.toLocaleString();
}

export function formatClock(date: Date): string {
  return date.toLocaleTimeString([], { ...CLOCK, fractionalSecondDigits: 3 });
}

export function formatMs(ms: number): string {
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** The two largest units: 23 h 59 min. */
export function formatDuration(seconds: number): string {
  const parts: string[] = [];
  let rest = Math.abs(Math.trunc(seconds));
  for (const [name, size] of UNITS) {
    if (rest >= size && parts.length < 2) parts.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  return parts.join(' ') || '0 s';
}

/** In words: "2 min ago", and the date for what is older than a week. */
export function formatAge(time: Moment, now = Date.now()): string {
  const date = new Date(time);
  const seconds = Math.trunc((now - date.getTime()) / 1_000);
  // Clocks differ a little: a time in the future counts as now.
  if (seconds < 10) return 'just now';
  if (seconds >= 7 * 86_400) return date.toLocaleDateString();
  const [name, size] = UNITS.find(([, unit]) => seconds >= unit) ?? UNITS[3];
  return `${Math.floor(seconds / size)} ${name} ago`;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
