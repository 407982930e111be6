/** What is counted, in the Prometheus text format at /metrics. */
import { Counter, Gauge, Registry } from 'prom-client';

export interface Metrics {
  readonly registry: Registry;
  readonly sends: Counter;
  readonly deliveries: Counter;
  readonly slowConsumers: Counter;
  readonly refusals: Counter<'code'>;
}

export interface Gauges {
  readonly connections: () => number;
  readonly users: () => number;
}

export function createMetrics(gauges: Gauges): Metrics {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({
    name: 'tidings_connections',
    help: 'Open authenticated connections.',
    registers,
    collect() {
      this.set(gauges.connections());
    },
  });
  new Gauge({
    name: 'tidings_users_connected',
    help: 'Distinct users with at least one open connection.',
    registers,
    collect() {
      this.set(gauges.users());
    },
  });
  return {
    registry,
    sends: new Counter({ name: 'tidings_sends_total', help: 'Messages accepted from senders.', registers }),
    deliveries: new Counter({
      name: 'tidings_deliveries_total',
      help: 'Stored messages written to connections, live or in catch-up.',
      registers,
    }),
    slowConsumers: new Counter({
      name: 'tidings_slow_consumers_total',
      help: 'Connections cut because their unsent bytes exceeded MAX_BUFFERED_BYTES.',
      registers,
    }),
    refusals: new Counter({
      name: 'tidings_refusals_total',
      help: 'Requests, handshakes and events answered with a problem, by its code.',
      labelNames: ['code'],
      registers,
    }),
  };
}
