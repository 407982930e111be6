/** The report at the end of a run. */
import type { RecordableHistogram } from 'node:perf_hooks';
import { grouped } from '../text';
import type { LoadPlan } from './plan';
import type { Receivers } from './receivers';
import type { Tally } from './tally';

/** From this share of a core on, the figures describe this program as much as the service. */
const BUSY_SHARE = 0.8;

export interface Run {
  readonly origin: string;
  readonly plan: LoadPlan;
  readonly tally: Tally;
  readonly receivers: Pick<Receivers, 'broken' | 'closings'>;
  readonly sent: number;
  /** From the first message until all answers had arrived. */
  readonly seconds: number;
  /** How busy this program was while it sent, 0 to 1. */
  readonly busyShare: number;
}

export interface Report {
  readonly url: string;
  readonly users: number;
  readonly connections: number;
  readonly seconds: number;
  readonly sent: number;
  readonly accepted: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly expected: number;
  /** Of all messages sent, including those that were not answered, and so not expected. */
  readonly delivered: number;
  readonly lost: number;
  readonly repeated: number;
  readonly disordered: number;
  readonly redelivered: number;
  readonly brokenConnections: number;
  readonly closings: Readonly<Record<string, number>>;
  readonly answerMs: Latency;
  readonly deliveryMs: Latency;
  readonly busyShare: number;
  /** Was everything accepted, and did it arrive once and in order? */
  readonly isFaultless: boolean;
}

interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export function reportOf({ origin, plan, tally, receivers, sent, seconds, busyShare }: Run): Report {
  const { expected, lost } = tally.count();
  const { accepted, delivered, repeated, disordered, redelivered, failed } = tally;
  return {
    url: origin,
    users: plan.users,
    connections: plan.connections,
    seconds: Number(seconds.toFixed(3)),
    sent,
    accepted,
    failed: Object.fromEntries([...tally.failures].map(([code, { count }]) => [code, count])),
    expected,
    delivered,
    lost,
    repeated,
    disordered,
    redelivered,
    brokenConnections: receivers.broken,
    closings: Object.fromEntries(receivers.closings),
    answerMs: latencyOf(tally.answers),
    deliveryMs: latencyOf(tally.deliveries),
    busyShare: Number(busyShare.toFixed(2)),
    isFaultless: failed === 0 && lost === 0 && repeated === 0 && disordered === 0,
  };
}

/** The report for people, with what to do about what went wrong. */
export function renderReport(report: Report, tally: Tally): string {
  const { sent, accepted, seconds, expected, lost } = report;
  const lines = [
    `Sent         ${grouped(sent)} in ${seconds.toFixed(1)} s, ${grouped(accepted)} accepted (${grouped(accepted / seconds)}/s)`,
    `Delivered    ${grouped(expected - lost)} of ${grouped(expected)} expected: ${describeDelivery(report)}`,
    `Answers      ${describeLatency(report.answerMs)} from the time each was due`,
    `Deliveries   ${describeLatency(report.deliveryMs)} from the time each was due`,
    `Connections  ${grouped(report.connections)} of ${grouped(report.users)} users, ${describeBreaks(report)}`,
    ...[...tally.failures].map(
      ([code, { count, sentence }]) => `Failed       ${grouped(count)} (${code}): ${sentence}`,
    ),
    `This program was busy ${Math.round(report.busyShare * 100)} % of the time${busyHint(report)}`,
  ];
  return `${lines.join('\n')}\n`;
}

function describeDelivery({ lost, repeated, disordered, redelivered }: Report): string {
  const faults = [
    ...(lost > 0 ? [`${grouped(lost)} LOST`] : []),
    ...(repeated > 0 ? [`${grouped(repeated)} REPEATED`] : []),
    ...(disordered > 0 ? [`${grouped(disordered)} OUT OF ORDER`] : []),
  ];
  const verdict = faults.length === 0 ? 'none lost, none repeated, all in order' : faults.join(', ');
  return redelivered === 0 ? verdict : `${verdict}; ${grouped(redelivered)} came again after a reconnect, as promised`;
}

function describeBreaks({ brokenConnections, closings }: Report): string {
  if (brokenConnections === 0) return 'none broken';
  const reasons = Object.entries(closings).map(([code, count]) => `${code} ${count}`);
  return `${grouped(brokenConnections)} broken${reasons.length === 0 ? '' : ` (${reasons.join(', ')})`}`;
}

function busyHint({ busyShare }: Report): string {
  return busyShare < BUSY_SHARE
    ? '.'
    : ': the figures describe this program as much as the service. Use a lower --rate.';
}

function latencyOf(histogram: RecordableHistogram): Latency {
  const max = histogram.count === 0 ? 0 : histogram.max / 1_000;
  return { p50: percentileMs(histogram, 50), p99: percentileMs(histogram, 99), max };
}

function describeLatency({ p50, p99, max }: Latency): string {
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms`;
}

/** A percentile in milliseconds; 0 if there are no values. */
export function percentileMs(histogram: RecordableHistogram, percentile: number): number {
  return histogram.count === 0 ? 0 : histogram.percentile(percentile) / 1_000;
}
