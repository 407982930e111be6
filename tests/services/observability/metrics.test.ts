/** The metrics as such: their names, their labels, and what bounds them. That they move: tests/features/metrics.test.ts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MAX_RECENT_SENDS, RecentSends } from '../../../services/delivery/recent-sends';
import { createMetrics, type Gauges, registerGauges } from '../../../services/observability/metrics';
import { ERROR_KINDS } from '../../../utils/errors';
import { type Family, parseMetrics } from '../../support/metrics';

const GAUGES: Gauges = {
  connections: (transport) => (transport === 'plain' ? 1 : 2),
  users: () => 3,
  catchUps: () => 4,
  queuedWrites: () => 5,
  unwrittenCursors: () => 6,
  isLive: () => false,
  outages: () => 7,
  refusedFrames: () => 15,
  balance: () => ({ places: 16, sockets: 17 }),
  nodes: () => 8,
  places: () => 9,
  handshakes: () => 10,
  untakenAnswers: () => 11,
  untakenBytes: () => 12,
  readsRunning: () => 13,
  readsWaiting: () => 14,
};

async function ownFamilies(): Promise<readonly Family[]> {
  const { registry } = createMetrics();
  registerGauges(registry, GAUGES);
  return parseMetrics(await registry.metrics()).families;
}

/** https://prometheus.io/docs/practices/naming/ */
describe('names', () => {
  it('begin with the service, in small letters', async () => {
    const names = (await ownFamilies()).map(({ name }) => name);
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => !/^tidings_[a-z]+(_[a-z]+)*$/.test(name))).toEqual([]);
  });

  it('of counters end in _total, and no others do', async () => {
    const wrong = (await ownFamilies()).filter(({ name, type }) => name.endsWith('_total') !== (type === 'counter'));
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });

  it('have base units, and no suffix that a histogram makes', async () => {
    const names = (await ownFamilies()).map(({ name }) => name);
    expect(names.filter((name) => /_(ms|milliseconds|minutes|kb|kib|bucket|count|sum|info)(_|$)/.test(name))).toEqual(
      [],
    );
    expect(names.filter((name) => /(duration|delay|latency)/.test(name) && !name.endsWith('_seconds'))).toEqual([]);
  });

  it('come with their own sentence', async () => {
    const helps = (await ownFamilies()).map(({ help }) => help);
    expect(helps.filter((help) => !/^[A-Z].*[.]$|^[A-Z].*\? 1 or 0[.]$/.test(help))).toEqual([]);
    expect(new Set(helps).size).toBe(helps.length);
  });
});

describe('series', () => {
  it('exist before anything happens, and are as many afterwards as before', async () => {
    const metrics = createMetrics();
    const count = async () => (await metrics.registry.metrics()).split('\n').length;
    const before = await count();
    for (const code of Object.keys(ERROR_KINDS)) metrics.refusals.inc({ code });
    const { sends, deliveries, rateLimited, connectionsRefused, closings } = metrics;
    for (const one of [sends, deliveries, rateLimited, connectionsRefused, closings]) {
      for (const series of Object.values(one)) series.inc();
    }
    expect(await count()).toBe(before);
  });

  it('have labels with a fixed number of values: nothing that a caller can choose', async () => {
    const { registry } = createMetrics();
    registerGauges(registry, GAUGES);
    const labels = new Set(
      registry.getMetricsAsArray().flatMap((metric) => (metric as unknown as { labelNames: string[] }).labelNames),
    );
    expect([...labels].sort()).toEqual(['code', 'destination', 'limit', 'mode', 'transport', 'what']);
  });

  it('of values read at a scrape show what their sources say', async () => {
    const { registry } = createMetrics();
    registerGauges(registry, GAUGES);
    const read = async () => {
      const now = parseMetrics(await registry.metrics());
      return [
        ...['tidings_connections{transport="socketio"}', 'tidings_connections{transport="plain"}'],
        ...['tidings_users_connected', 'tidings_catch_ups_running', 'tidings_store_queued_writes'],
        ...['tidings_cursors_unwritten', 'tidings_cluster_live', 'tidings_cluster_outages_total'],
        ...['tidings_cluster_nodes', 'tidings_places_taken', 'tidings_handshakes_waiting'],
        ...['tidings_answers_untaken', 'tidings_answers_untaken_bytes'],
        ...['tidings_reads_running', 'tidings_reads_waiting', 'tidings_cluster_frames_refused_total'],
        ...['tidings_taken{what="places"}', 'tidings_taken{what="sockets"}'],
      ].map((series) => now.value(series));
    };
    const expected = [2, 1, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
    expect(await read()).toEqual(expected);
    // A second look adds nothing to the first.
    expect(await read()).toEqual(expected);
  });

  it('are all moved by a test of what moves them', async () => {
    const tests = ['features/metrics', 'cluster/metrics', 'cluster/signed-frames', 'limits', 'unread-answers']
      .map((path) => readFileSync(join(__dirname, '../..', `${path}.test.ts`), 'utf8'))
      .join('\n');
    const untouched = (await ownFamilies()).filter(
      ({ name }) => !new RegExp(`\\b${name}(_count|_sum|_bucket|\\b)`).test(tests),
    );
    expect(untouched.map(({ name }) => name)).toEqual([]);
  });
});

describe('the latest sends', () => {
  it('are found between what was acknowledged and what is, newest first', () => {
    const recent = new RecentSends();
    for (const seq of [3, 4, 7, 9]) recent.add(seq, seq * 10);
    expect([...recent.between(3, 7)]).toEqual([70, 40]);
    expect([...recent.between(9, 9)]).toEqual([]);
    expect([...recent.between(0, 100)]).toEqual([90, 70, 40, 30]);
  });

  it('are limited, whatever is sent', () => {
    const recent = new RecentSends();
    for (let seq = 1; seq <= 10_000; seq += 1) recent.add(seq, seq);
    const left = [...recent.between(0, 10_000)];
    expect([left.length, left[0], left.at(-1)]).toEqual([MAX_RECENT_SENDS, 10_000, 10_001 - MAX_RECENT_SENDS]);
  });
});
