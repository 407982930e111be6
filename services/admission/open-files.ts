/**
 * Open files: every connection takes one, and so does everything the service needs itself. Node raises the limit of its
 * process as far as it may; what is left bounds the number of connections, whatever the configuration says. Without a
 * descriptor a caller could not even be refused: so some are reserved for requests, and some for the service itself.
 */
import { readdirSync } from 'node:fs';
import type { Server } from 'node:http';
import { systemClock } from '../../utils/clock';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';

/** Reserved twice: for requests while sockets are refused, and for the service itself while all calls are refused. */
const RESERVE_SHARE = 0.1;
const MIN_RESERVE = 8;
const LOG_INTERVAL_MS = 60_000;

export interface OpenFiles {
  /** How many sockets may be open: fewer than configured when the limit of open files is low. */
  readonly maxConnections: number;
  /** From now on the server accepts no more TCP connections than there are descriptors for. */
  guard(server: Server): void;
  /** Logs when there are fewer than configured. */
  report(): void;
}

export interface OpenFilesParts {
  readonly maxConnections: number;
  readonly refusals: Metrics['refusals'];
  readonly logger: Logger;
  /** Descriptors that the process may have, and has now; `undefined` where the system does not report them. */
  readonly limit?: number | undefined;
  readonly inUse?: number | undefined;
}

/** To be called once the store is open, so that the descriptors of the service itself are counted. */
export function divideOpenFiles(parts: OpenFilesParts): OpenFiles {
  const { maxConnections, logger, limit = readLimit(), inUse = countOpen() } = parts;
  if (limit === undefined || inUse === undefined)
    return { maxConnections, guard: () => undefined, report: () => undefined };
  const reserve = Math.max(MIN_RESERVE, Math.floor(limit * RESERVE_SHARE));
  const forCalls = Math.max(1, limit - inUse - reserve);
  const forSockets = Math.max(1, forCalls - reserve);
  return {
    maxConnections: Math.min(maxConnections, forSockets),
    guard: (server) => guard(server, forCalls, parts),
    report: () => {
      const text = 'the limit of open files allows fewer connections than MAX_CONNECTIONS';
      if (forSockets < maxConnections) logger.info({ openFiles: limit, connections: forSockets }, text);
    },
  };
}

function guard(server: Server, maxConnections: number, { refusals, logger }: OpenFilesParts): void {
  let count = 0;
  let loggedAt = Number.NEGATIVE_INFINITY;
  server.maxConnections = maxConnections;
  server.on('drop', () => {
    refusals.inc({ code: 'too_many_connections' });
    count += 1;
    // At most one line per interval: a line for each attempt would let callers fill the log.
    const now = systemClock.steady();
    if (now - loggedAt < LOG_INTERVAL_MS) return;
    logger.error({ dropped: count, maxConnections }, 'connections are dropped: the limit of open files is reached');
    loggedAt = now;
    count = 0;
  });
}

let limitOfProcess: { readonly limit: number | undefined } | undefined;

/** Read once: it takes a whole report on the process, and Node changes the limit only at its start. */
function readLimit(): number | undefined {
  limitOfProcess ??= { limit: askForLimit() };
  return limitOfProcess.limit;
}

/** What Linux and macOS report of the process. */
function askForLimit(): number | undefined {
  const { report } = process;
  if (report === undefined) return undefined;
  const { excludeNetwork } = report as { excludeNetwork?: boolean };
  // Otherwise it would look up the names of all peers.
  Object.assign(report, { excludeNetwork: true });
  const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
  Object.assign(report, { excludeNetwork });
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : undefined;
}

function countOpen(): number | undefined {
  try {
    return readdirSync('/dev/fd').length;
  } catch {
    // Windows has no such directory, and no such limit.
    return undefined;
  }
}
