/**
 * Open files: every connection takes one, and so does all that the service needs itself. Node raises the limit of its
 * process as far as it may; what is left decides how many connections there can be, whatever the configuration says.
 * Out of descriptors nobody could be told anything: so some are kept back for requests, and some for nobody who calls.
 */
import { readdirSync } from 'node:fs';
import type { Server } from 'node:http';
import { systemClock } from '../../utils/clock';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';

/** Kept back twice: for requests while sockets are refused, and for the service itself while all calls are. */
const RESERVE_SHARE = 0.1;
const MIN_RESERVE = 8;
const LOG_INTERVAL_MS = 60_000;

export interface OpenFiles {
  /** How many sockets may be open: fewer than configured where the limit of open files is low. */
  readonly maxConnections: number;
  /** From now on the server takes no more TCP connections than there are descriptors for. */
  guard(server: Server): void;
}

export interface OpenFilesParts {
  readonly maxConnections: number;
  readonly refusals: Metrics['refusals'];
  readonly logger: Logger;
  /** Descriptors that the process may have, and has now; `undefined` where the system does not tell. */
  readonly limit?: number | undefined;
  readonly inUse?: number | undefined;
}

/** To be asked when the store is open: what the service needs for itself is counted. */
export function divideOpenFiles(parts: OpenFilesParts): OpenFiles {
  const { maxConnections, logger, limit = readLimit(), inUse = countOpen() } = parts;
  if (limit === undefined || inUse === undefined) return { maxConnections, guard: () => undefined };
  const reserve = Math.max(MIN_RESERVE, Math.floor(limit * RESERVE_SHARE));
  const forCalls = Math.max(1, limit - inUse - reserve);
  const forSockets = Math.max(1, forCalls - reserve);
  if (forSockets < maxConnections) {
    const text = 'the limit of open files allows fewer connections than MAX_CONNECTIONS';
    logger.info({ openFiles: limit, connections: forSockets }, text);
  }
  return {
    maxConnections: Math.min(maxConnections, forSockets),
    guard: (server) => guard(server, forCalls, parts),
  };
}

function guard(server: Server, maxConnections: number, { refusals, logger }: OpenFilesParts): void {
  let count = 0;
  let loggedAt = Number.NEGATIVE_INFINITY;
  server.maxConnections = maxConnections;
  server.on('drop', () => {
    refusals.inc({ code: 'too_many_connections' });
    count += 1;
    // By the clock that never jumps. A line for each attempt would be as many as somebody wants.
    const now = systemClock.steady();
    if (now - loggedAt < LOG_INTERVAL_MS) return;
    logger.error({ dropped: count, maxConnections }, 'connections are dropped: the limit of open files is reached');
    loggedAt = now;
    count = 0;
  });
}

let limitOfProcess: { readonly limit: number | undefined } | undefined;

/** Asked once: the answer is a whole report on the process, and Node changes the limit at its start only. */
function readLimit(): number | undefined {
  limitOfProcess ??= { limit: askForLimit() };
  return limitOfProcess.limit;
}

/** What Linux and macOS tell of the process. */
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
