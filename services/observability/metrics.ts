/**
 * Metrics in the Prometheus text format at /metrics. No label holds a value that a caller can choose: this file and the
 * catalogue of errors fix the number of series.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Balance } from '../../utils/balance';
import { ERROR_KINDS } from '../../utils/errors';
import { CLOSING_CODES, type ClosingCode } from '../../utils/protocol';
import type { Destination } from '../../utils/topic-names';
import type { TransportName } from '../delivery/connections';
import type { FlushListener } from '../storage/contract';

/** One series, looked up once: a frequent event only pays for an addition. */
export interface Series {
  inc(by?: number): void;
}

export interface Metrics {
  readonly registry: Registry;
  readonly sends: Readonly<Record<Destination, Series>>;
  readonly deliveries: Readonly<Record<'live' | 'catch_up', Series>>;
  readonly acks: Counter;
  readonly sendToAck: Histogram;
  readonly catchUpMessages: Histogram;
  readonly catchUpDuration: Histogram;
  readonly scheduleDelay: Histogram;
  readonly gapsHealed: Counter;
  readonly slowConsumers: Counter;
  readonly answersCut: Counter;
  readonly refusals: Counter<'code'>;
  readonly rateLimited: Readonly<
    Record<'requests' | 'reads' | 'events' | 'bytes' | 'handshakes' | 'handshakes_per_address', Series>
  >;
  readonly connectionsRefused: Readonly<Record<'all' | 'address' | 'user', Series>>;
  readonly closings: Readonly<Record<ClosingCode, Series>>;
  readonly clusterFrames: Counter;
  readonly onFlush: FlushListener;
  /** All metrics as of now, including those of the process. */
  scrape(): Promise<string>;
}

/** Values read at each scrape, from memory, whatever the load. */
export interface Gauges {
  readonly connections: (transport: TransportName) => number;
  readonly users: () => number;
  readonly catchUps: () => number;
  readonly queuedWrites: () => number;
  readonly unwrittenCursors: () => number;
  readonly isLive: () => boolean;
  readonly outages: () => number;
  readonly refusedFrames: () => number;
  readonly nodes: () => number;
  readonly places: () => number;
  readonly handshakes: () => number;
  readonly readsRunning: () => number;
  readonly readsWaiting: () => number;
  readonly untakenAnswers: () => number;
  readonly untakenBytes: () => number;
  readonly balance: () => Balance;
}

const TRANSPORTS: readonly TransportName[] = ['socketio', 'plain'];
const ACK_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const CATCH_UP_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const CATCH_UP_BUCKETS_MESSAGES = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000];
/** Due messages are looked for every 250 ms. */
const SCHEDULE_BUCKETS_S = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600];
const FLUSH_BUCKETS_S = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
const FLUSH_BUCKETS_WRITES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

export function createMetrics(): Metrics {
  const registry = new Registry();
  const make = makers(registry);
  return {
    registry,
    onFlush: createOnFlush(make),
    refusals: refusalsOf(make),
    ...deliveryMetrics(make),
    ...limitMetrics(make),
    clusterFrames: make.counter('tidings_cluster_frames_received_total', 'Frames received from other nodes.'),
    scrape: () => Registry.merge([registry, metricsOfProcess()]).metrics(),
  };
}

type Makers = ReturnType<typeof makers>;

function createOnFlush(make: Makers): Metrics['onFlush'] {
  const flushDuration = make.histogram(
    'tidings_store_flush_duration_seconds',
    'Time to write one batch to the store, until it is durable.',
    FLUSH_BUCKETS_S,
  );
  const flushWrites = make.histogram('tidings_store_flush_writes', 'Writes per batch.', FLUSH_BUCKETS_WRITES);
  const flushFailures = make.counter('tidings_store_flush_failures_total', 'Batches that the store did not accept.');
  return ({ writes, durationMs, isDone }) => {
    flushDuration.observe(durationMs / 1_000);
    flushWrites.observe(writes);
    if (!isDone) flushFailures.inc();
  };
}

function refusalsOf(make: Makers): Metrics['refusals'] {
  const refusals = make.counterBy(
    'code',
    'tidings_refusals_total',
    'Requests, handshakes and events answered with a problem, by code.',
  );
  seriesOf(refusals, Object.keys(ERROR_KINDS));
  return refusals;
}

function deliveryMetrics(make: Makers) {
  return {
    sends: seriesOf(
      make.counterBy('destination', 'tidings_sends_total', 'Messages stored for senders, by kind of recipient.'),
      ['user', 'topic', 'broadcast'],
    ),
    deliveries: seriesOf(
      make.counterBy(
        'mode',
        'tidings_deliveries_total',
        'Stored messages written to connections, live or in catch-up.',
      ),
      ['live', 'catch_up'],
    ),
    acks: make.counter('tidings_acks_total', 'Accepted acknowledgements of named devices.'),
    sendToAck: make.histogram(
      'tidings_send_to_ack_seconds',
      'Time from the send of a message to its acknowledgement by a connected device.',
      ACK_BUCKETS_S,
    ),
    catchUpMessages: make.histogram(
      'tidings_catch_up_messages',
      'Messages written to a new connection until it was up to date.',
      CATCH_UP_BUCKETS_MESSAGES,
    ),
    catchUpDuration: make.histogram(
      'tidings_catch_up_duration_seconds',
      'Time until a new connection was up to date.',
      CATCH_UP_BUCKETS_S,
    ),
    scheduleDelay: make.histogram(
      'tidings_schedule_delay_seconds',
      'How long after their time scheduled messages were sent.',
      SCHEDULE_BUCKETS_S,
    ),
    gapsHealed: make.counter(
      'tidings_gaps_healed_total',
      'How often messages of a topic were missing here and were read from the store.',
    ),
  };
}

function limitMetrics(make: Makers) {
  return {
    slowConsumers: make.counter(
      'tidings_slow_consumers_total',
      'Connections cut because their unsent bytes exceeded MAX_BUFFERED_BYTES, or those of their user 16 times that.',
    ),
    answersCut: make.counter(
      'tidings_answers_cut_total',
      'HTTP connections cut because answers were not read within 30 s, or more than 100 requests were pipelined.',
    ),
    rateLimited: seriesOf(
      make.counterBy(
        'limit',
        'tidings_rate_limited_total',
        'Requests, client events and handshakes beyond their rate.',
      ),
      ['requests', 'reads', 'events', 'bytes', 'handshakes', 'handshakes_per_address'],
    ),
    connectionsRefused: seriesOf(
      make.counterBy(
        'limit',
        'tidings_connections_refused_total',
        'Connections refused because of a limit: on all, on those of one address or of one user.',
      ),
      ['all', 'address', 'user'],
    ),
    closings: seriesOf(
      make.counterBy('code', 'tidings_closings_total', 'Connections closed by the service, by closing code.'),
      CLOSING_CODES,
    ),
  };
}

function makers(registry: Registry) {
  const registers = [registry];
  return {
    counter: (name: string, help: string) => new Counter({ name, help, registers }),
    counterBy: <Label extends string>(label: Label, name: string, help: string) =>
      new Counter({ name, help, labelNames: [label], registers }),
    histogram: (name: string, help: string, buckets: number[]) => new Histogram({ name, help, buckets, registers }),
  };
}

/** A series for each value of the only label, starting at 0: an increase only shows where there was a value before. */
function seriesOf<Value extends string>(counter: Counter, values: readonly Value[]): Readonly<Record<Value, Series>> {
  const entries = values.map((value) => {
    const series = counter.labels(value);
    series.inc(0);
    return [value, series] as const;
  });
  return Object.fromEntries(entries) as Record<Value, Series>;
}

/** Registers the values that are read at each scrape. */
export function registerGauges(registry: Registry, gauges: Gauges): void {
  registerLabelled(registry, gauges);
  registerClusterCounters(registry, gauges);
  registerNumbers(registry, gauges);
}

function registerLabelled(registry: Registry, gauges: Gauges): void {
  const registers = [registry];
  new Gauge({
    name: 'tidings_connections',
    help: 'Open authenticated connections, by transport.',
    labelNames: ['transport'],
    registers,
    collect() {
      for (const transport of TRANSPORTS) this.set({ transport }, gauges.connections(transport));
    },
  });
  new Gauge({
    name: 'tidings_taken',
    help: 'What is in use and must be given back, by kind.',
    labelNames: ['what'],
    registers,
    collect() {
      for (const [what, count] of Object.entries(gauges.balance())) this.set({ what }, count);
    },
  });
}

function registerClusterCounters(registry: Registry, { refusedFrames, outages }: Gauges): void {
  const counter = (name: string, help: string, look: () => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(look());
      },
    });
  counter('tidings_cluster_frames_refused_total', 'Frames that were not signed with CLUSTER_SECRET.', refusedFrames);
  counter('tidings_cluster_outages_total', 'How often frames ceased to reach the other nodes.', outages);
}

function registerNumbers(registry: Registry, gauges: Gauges): void {
  const gauge = (name: string, help: string, look: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(look());
      },
    });
  gauge(
    'tidings_reads_running',
    'Expensive reads that are running, or whose answers are not yet read.',
    gauges.readsRunning,
  );
  gauge('tidings_reads_waiting', 'Expensive reads that wait for their turn.', gauges.readsWaiting);
  gauge('tidings_answers_untaken', 'HTTP answers that wait for their clients to read.', gauges.untakenAnswers);
  gauge('tidings_answers_untaken_bytes', 'Bytes of these answers.', gauges.untakenBytes);
  gauge('tidings_users_connected', 'Distinct users with at least one open connection.', gauges.users);
  gauge('tidings_catch_ups_running', 'New connections that are not up to date yet.', gauges.catchUps);
  gauge('tidings_store_queued_writes', 'Writes that wait for their batch, or are being written.', gauges.queuedWrites);
  gauge('tidings_cursors_unwritten', 'Cursors of devices that are not in the store yet.', gauges.unwrittenCursors);
  gauge('tidings_cluster_live', 'Do frames reach the other nodes at once? 1 or 0.', () => Number(gauges.isLive()));
  gauge('tidings_cluster_nodes', 'Nodes known here, including this one.', gauges.nodes);
  gauge(
    'tidings_places_taken',
    'Places of MAX_CONNECTIONS in use, including those of unfinished handshakes.',
    gauges.places,
  );
  gauge('tidings_handshakes_waiting', 'New connections that wait for their turn.', gauges.handshakes);
}

/** Left out: each scrape would list all sockets of the process. Their names break the naming rules as well. */
const LISTS_OF_HANDLES = ['resources', 'handles', 'requests'].flatMap((what) => [
  `nodejs_active_${what}`,
  `nodejs_active_${what}_total`,
]);

let ofProcess: Registry | undefined;

/**
 * Event loop, memory, processor and garbage collector. They belong to the process, however many services it runs, and
 * watching them takes a timer that cannot be stopped: so they are watched once, and only after a first scrape.
 */
function metricsOfProcess(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
    for (const name of LISTS_OF_HANDLES) ofProcess.removeSingleMetric(name);
  }
  return ofProcess;
}
