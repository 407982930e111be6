/** The findings of a run: the table, and sentences for what is wrong. */
import { availableParallelism, cpus, release } from 'node:os';
import { renderTable } from '../../../bench/support/report';
import { findKept, MEASURE_NAMES, type MeasureName, measureOf, type Reading } from './measures';
import type { SoakPlan } from './plan';
import { judge, type Point, type Trend, trendOf, type Verdict, withoutWarmUp } from './trend';

/** Share of the time of a run: caches fill, code is compiled, pools grow to their size. */
const WARM_UP_SHARE = 0.2;
/** The first faults are enough. */
const MAX_FAULTS = 20;

export interface Sample {
  readonly hours: number;
  readonly reading: Reading;
}

export interface SoakResult {
  readonly plan: SoakPlan;
  readonly before: Reading;
  readonly samples: readonly Sample[];
  /** When everybody has left. */
  readonly after: Reading;
  readonly counts: {
    readonly requests: number;
    readonly heldBack: number;
    readonly accepted: number;
    readonly expected: number;
    readonly delivered: number;
    readonly connects: number;
    /** Of users who stay. */
    readonly lostConnections: number;
  };
  /** What the deliveries, the answers and the log have shown. */
  readonly faults: readonly string[];
}

interface Row {
  readonly name: MeasureName;
  readonly trend: Trend | undefined;
  readonly verdict: Verdict | 'not judged';
}

/** Sentences for everything that is wrong; none if all is well. */
export function findFaults(result: SoakResult): string[] {
  const kept = findKept(result.before, result.after);
  return [
    ...growthOf(result.samples),
    ...kept.map((name) => {
      const amounts = `${result.after[name]} when everybody had left, ${result.before[name]} before the load`;
      return `${measureOf(name).title}: ${amounts}`;
    }),
    ...result.faults,
  ];
}

/** A sentence for each measure that grows more than it may. */
export function growthOf(samples: readonly Sample[]): string[] {
  const growing = rowsOf(samples).filter(({ verdict }) => verdict === 'growing');
  return growing.map(({ name, trend }) => `${measureOf(name).title}: grows by ${describeTrend(trend)} an hour`);
}

function rowsOf(samples: readonly Sample[]): Row[] {
  return MEASURE_NAMES.map((name) => {
    const points: Point[] = samples.map(({ hours, reading }) => ({ hours, value: reading[name] }));
    const trend = trendOf(withoutWarmUp(points, WARM_UP_SHARE));
    const { tolerance } = measureOf(name);
    return { name, trend, verdict: tolerance === undefined ? 'not judged' : judge(trend, tolerance) };
  });
}

/** The whole report in Markdown. */
export function renderResult(result: SoakResult): string {
  const faults = findFaults(result);
  const left = faults.length - MAX_FAULTS;
  return [
    ...describeRun(result),
    '',
    ...renderTable({
      header: ['', 'before', 'warm', 'at the end', 'everybody gone', 'slope per hour', 'allowed', ''],
      rows: rowsOf(result.samples).map((row) => renderRow(row, result)),
    }),
    '',
    ...(faults.length === 0 ? ['Nothing grows, nothing was lost, nothing came twice.'] : ['Faults:', '']),
    ...faults.slice(0, MAX_FAULTS).map((fault) => `- ${fault}`),
    ...(left > 0 ? [`- and ${left} more`] : []),
    '',
  ].join('\n');
}

function describeRun({ plan, counts, samples, before, samples: { length } }: SoakResult): string[] {
  const last = samples.at(-1)?.reading.storeMiB ?? 0;
  const bytes = ((last - before.storeMiB) * 1024 * 1024) / Math.max(1, counts.accepted);
  const n = (count: number) => count.toLocaleString('en-US');
  return [
    `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} × ${cpus()[0]?.model.trim()}, Linux ${release()}, ` +
      `Node ${process.version}. ${plan.minutes} minutes, ${plan.rate} requests a second, ${plan.users} users; ${length} samples.`,
    '',
    `${n(counts.requests)} requests (${n(counts.heldBack)} held back: too many unanswered), ${n(counts.accepted)} counted messages accepted, ${n(counts.delivered)} deliveries of them ` +
      `(${n(counts.expected)} promised), ${n(counts.connects)} connections of counted users; ` +
      `${n(counts.lostConnections)} of those that were to stay broke. ` +
      `The store grew by ${Math.round(bytes)} bytes for each counted message, with all that belongs to the others.`,
  ];
}

function renderRow({ name, trend, verdict }: Row, { before, samples, after }: SoakResult): string[] {
  const { title, tolerance } = measureOf(name);
  const hours = samples.at(-1)?.hours ?? 0;
  const warm = samples.find((sample) => sample.hours >= hours * WARM_UP_SHARE)?.reading[name];
  const amounts = [before[name], warm, samples.at(-1)?.reading[name], after[name]];
  return [
    title,
    ...amounts.map((amount) => (amount === undefined ? '' : format(amount))),
    describeTrend(trend),
    tolerance === undefined ? '' : `+${tolerance.perHour}`,
    verdict,
  ];
}

/** The slope and its interval. */
function describeTrend(trend: Trend | undefined): string {
  if (trend === undefined) return 'too few samples';
  if (Number.isNaN(trend.slope)) return '';
  return `${format(trend.slope)} (${format(trend.low)} to ${format(trend.high)})`;
}

function format(amount: number): string {
  // Not read.
  if (Number.isNaN(amount)) return '';
  if (Number.isInteger(amount)) return String(amount);
  return Math.abs(amount) >= 100 ? amount.toFixed(0) : amount.toFixed(1);
}
