/** What a run has measured, and whether everything arrived as promised. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { MessageStream, StreamKind } from './message-stream';

/** Latencies are kept in microseconds, to three digits. */
const HISTOGRAM = { lowest: 1, highest: 3_600_000_000, figures: 3 };

/** The fields of a message that matter here. */
export interface Arrival {
  readonly topic: string;
  /** Absent on live messages: those belong to somebody else. */
  readonly seq?: number;
  readonly data: unknown;
}

/** The last `seq` of each topic that arrived on a connection, while it is open. */
export type Positions = Map<string, number>;

interface Failures {
  count: number;
  readonly sentence: string;
}

export class Tally {
  readonly run: string;
  /** From the time at which a message was due to its answer, and to its arrival. */
  readonly answers: RecordableHistogram = createHistogram(HISTOGRAM);
  readonly deliveries: RecordableHistogram = createHistogram(HISTOGRAM);
  readonly failures = new Map<string, Failures>();
  accepted = 0;
  /** Distinct messages that have arrived, over all connections. */
  delivered = 0;
  /** Arrived twice on one connection. */
  repeated = 0;
  /** Arrived after a later one on the same connection. */
  disordered = 0;
  /** Came again on a new connection, as unacknowledged messages do. */
  redelivered = 0;
  readonly #streams: ReadonlyMap<StreamKind, MessageStream>;

  constructor(run: string, streams: readonly MessageStream[]) {
    this.run = run;
    this.#streams = new Map(streams.map((stream) => [stream.kind, stream]));
  }

  noteAccepted(stream: MessageStream, n: number): void {
    this.accepted += 1;
    stream.noteAccepted(n);
    record(this.answers, performance.now() - stream.dueAt(n));
  }

  noteFailed(code: string, sentence: string): void {
    const failures = this.failures.get(code) ?? { count: 0, sentence };
    failures.count += 1;
    this.failures.set(code, failures);
  }

  get failed(): number {
    return [...this.failures.values()].reduce((sum, { count }) => sum + count, 0);
  }

  /** Checks what arrived on a connection, which knows its positions. Messages of other runs only move them. */
  noteArrival(connection: number, positions: Positions, { topic, seq, data }: Arrival): void {
    if (seq === undefined) return;
    const isBehind = seq <= (positions.get(topic) ?? 0);
    if (!isBehind) positions.set(topic, seq);
    const { run, kind, n } = (data ?? {}) as { run?: unknown; kind?: StreamKind; n?: number };
    const stream = kind === undefined ? undefined : this.#streams.get(kind);
    if (run !== this.run || stream === undefined || n === undefined) return;
    if (stream.noteArrival(connection, n)) {
      this.delivered += 1;
      if (isBehind) this.disordered += 1;
      record(this.deliveries, performance.now() - stream.dueAt(n));
    } else if (isBehind) this.repeated += 1;
    else this.redelivered += 1;
  }

  /** Which of the accepted messages were expected, and which are missing. */
  count(): { expected: number; lost: number } {
    const tallies = [...this.#streams.values()].map((stream) => stream.tally());
    return {
      expected: tallies.reduce((sum, { expected }) => sum + expected, 0),
      lost: tallies.reduce((sum, { lost }) => sum + lost, 0),
    };
  }
}

function record(histogram: RecordableHistogram, milliseconds: number): void {
  histogram.record(Math.min(Math.max(1, Math.round(milliseconds * 1_000)), HISTOGRAM.highest));
}
