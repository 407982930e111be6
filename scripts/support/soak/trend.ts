/**
 * Does a series of readings grow? A straight line through it, with an interval for its slope that accounts for
 * correlated readings: a sawtooth of garbage or of a minute's limit is no leak, and neither is noise.
 */

/** One reading. */
export interface Point {
  /** Hours since the first one. */
  readonly hours: number;
  readonly value: number;
}

/** The line, and the interval that contains its true slope with CONFIDENCE. Per hour. */
export interface Trend {
  readonly slope: number;
  readonly low: number;
  readonly high: number;
  /** From the first reading to the last. */
  readonly hours: number;
}

/** What growth is a fault: both must be exceeded, and the interval must exclude 0. */
export interface Tolerance {
  /** Growth allowed per hour. */
  readonly perHour: number;
  /** Growth allowed over the whole time: a short run is full of beginnings. */
  readonly inAll: number;
}

export type Verdict = 'flat' | 'growing' | 'too short';

/** Ten measures are judged: at 95 %, every second healthy run would be suspected. */
const CONFIDENCE = 0.99;
/** With fewer, no interval is meaningful. */
const MIN_POINTS = 5;
/** A series with more correlation than this has only one independent reading. */
const MAX_CORRELATION = 0.95;

/** Readings from the beginning, while caches fill and code is compiled, belong to no line. */
export function withoutWarmUp(points: readonly Point[], share: number): Point[] {
  const last = points.at(-1)?.hours ?? 0;
  return points.filter(({ hours }) => hours >= last * share);
}

/** Least squares. `undefined` for too few readings. */
export function trendOf(points: readonly Point[]): Trend | undefined {
  if (points.length < MIN_POINTS) return undefined;
  const hours = meanOf(points.map((point) => point.hours));
  const value = meanOf(points.map((point) => point.value));
  const spread = sumOf(points.map((point) => (point.hours - hours) ** 2));
  const slope = sumOf(points.map((point) => (point.hours - hours) * (point.value - value))) / spread;
  const residuals = points.map((point) => point.value - value - slope * (point.hours - hours));
  // As climatologists do (Santer and others, 2000): correlated readings count as the smaller number of independent
  // ones.
  const freedom = independentReadings(residuals) - 2;
  const variance = sumOf(residuals.map((residual) => residual ** 2)) / freedom;
  const half = Math.sqrt(variance / spread) * studentQuantile((1 + CONFIDENCE) / 2, freedom);
  return { slope, low: slope - half, high: slope + half, hours: (points.at(-1)?.hours ?? 0) - (points[0]?.hours ?? 0) };
}

export function judge(trend: Trend | undefined, { perHour, inAll }: Tolerance): Verdict {
  if (trend === undefined) return 'too short';
  const isGrowing = trend.low > 0 && trend.slope > perHour && trend.slope * trend.hours > inAll;
  return isGrowing ? 'growing' : 'flat';
}

/** If readings resemble their predecessors, several are worth one: by the correlation of neighbours. */
function independentReadings(residuals: readonly number[]): number {
  const square = sumOf(residuals.map((residual) => residual ** 2));
  if (square === 0) return residuals.length;
  const neighbours = sumOf(residuals.slice(1).map((residual, index) => residual * (residuals[index] ?? 0)));
  const correlation = Math.min(MAX_CORRELATION, Math.max(0, neighbours / square));
  return Math.max(3, residuals.length * ((1 - correlation) / (1 + correlation)));
}

/** Student's quantile from the normal one: Cornish and Fisher's expansion, good from three degrees of freedom on. */
export function studentQuantile(probability: number, freedom: number): number {
  // One and two degrees have closed forms; in between, the wider one is used.
  if (freedom < 2) return Math.tan(Math.PI * (probability - 0.5));
  if (freedom < 3) return (2 * probability - 1) / Math.sqrt(2 * probability * (1 - probability));
  const z = normalQuantile(probability);
  return (
    z +
    (z ** 3 + z) / (4 * freedom) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * freedom ** 3) +
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / (92_160 * freedom ** 4)
  );
}

/** Abramowitz and Stegun 26.2.23, for the upper half: the error is below 0.00045. */
function normalQuantile(probability: number): number {
  const t = Math.sqrt(-2 * Math.log(1 - probability));
  return t - (2.515517 + 0.802853 * t + 0.010328 * t ** 2) / (1 + 1.432788 * t + 0.189269 * t ** 2 + 0.001308 * t ** 3);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function meanOf(values: readonly number[]): number {
  return sumOf(values) / values.length;
}
