/** How descriptors are divided. What happens when they are used up: tests/chaos/process-limits.ts. */
import { createServer } from 'node:http';
import { divideOpenFiles } from '../../../services/admission/open-files';
import { createMetrics } from '../../../services/observability/metrics';
import { captureLog } from '../../support/captured-log';

function divide(options: { maxConnections: number; limit?: number | undefined; inUse?: number | undefined }) {
  const log = captureLog();
  const server = createServer();
  const files = divideOpenFiles({ ...options, refusals: createMetrics().refusals, logger: log.logger });
  files.guard(server);
  files.report();
  return { sockets: files.maxConnections, calls: server.maxConnections, lines: log.lines.length };
}

it.each([
  ['many', { limit: 100_000, inUse: 30 }, { sockets: 50_000, calls: 89_970, lines: 0 }],
  ['few, and says so', { limit: 1_024, inUse: 24 }, { sockets: 796, calls: 898, lines: 1 }],
  ['very few: eight are kept twice', { limit: 64, inUse: 24 }, { sockets: 24, calls: 32, lines: 1 }],
  ['none but for one', { limit: 24, inUse: 24 }, { sockets: 1, calls: 1, lines: 1 }],
])('divides %s', (_name, files, expected) => {
  expect(divide({ maxConnections: 50_000, ...files })).toEqual(expected);
});

it('knows the limit of this process and what it has', () => {
  const { sockets, calls } = divide({ maxConnections: 10 });
  expect(sockets).toBe(10);
  expect(calls).toBeGreaterThan(10);
});
