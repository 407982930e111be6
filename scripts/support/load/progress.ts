/** A bar with live figures on a terminal; elsewhere a line every few seconds. */
import { SingleBar } from 'cli-progress';
import type { Output } from '../terminal';
import { grouped } from '../text';
import { percentileMs } from './report';
import type { Tally } from './tally';

const SAMPLE_INTERVAL_MS = 500;
const LINE_INTERVAL_MS = 5_000;
/** In the order of importance: a narrow terminal cuts off the end. */
const FIGURES =
  '{value}/{total} {what}{errors} | {connected} connected | {sentRate}/s sent, {deliveredRate}/s delivered | ' +
  'p50 {p50} p99 {p99} ms';

export interface Phase {
  readonly what: string;
  readonly total: number;
  value(): number;
}

interface Source {
  readonly tally: Tally;
  readonly sent: number;
  readonly connected: number;
}

/** Shows a phase until its work is done or has failed. */
export async function withProgress<Result>(
  stderr: Output,
  phase: Phase,
  { source, work }: { source: () => Source; work: () => Promise<Result> },
): Promise<Result> {
  const bar = new SingleBar({
    stream: stderr as NodeJS.WriteStream,
    format: stderr.isTTY === true ? `{bar} ${FIGURES}` : FIGURES,
    barsize: 12,
    hideCursor: true,
    forceRedraw: true,
    noTTYOutput: true,
    notTTYSchedule: LINE_INTERVAL_MS,
  });
  let before = { sent: 0, delivered: 0 };
  const figures = () => {
    const { tally, sent, connected } = source();
    const perSecond = (count: number) => grouped((count * 1_000) / SAMPLE_INTERVAL_MS);
    const payload = {
      what: phase.what,
      connected,
      sentRate: perSecond(sent - before.sent),
      deliveredRate: perSecond(tally.delivered - before.delivered),
      p50: percentileMs(tally.deliveries, 50).toFixed(1),
      p99: percentileMs(tally.deliveries, 99).toFixed(1),
      errors: [...tally.failures].map(([code, { count }]) => ` | ${code} ${count}`).join(''),
    };
    before = { sent, delivered: tally.delivered };
    return payload;
  };
  bar.start(phase.total, phase.value(), figures());
  const timer = setInterval(() => bar.update(phase.value(), figures()), SAMPLE_INTERVAL_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    bar.update(phase.value(), figures());
    bar.stop();
  }
}
