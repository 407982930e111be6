import type { ErrorRequestHandler, Request, RequestHandler } from 'express';
import { ipKeyGenerator, rateLimit } from 'express-rate-limit';
import type { Cluster } from '../../services/cluster/contract';
import type { Metrics } from '../../services/observability/metrics';
import { holdsScope } from '../../utils/caller';
import type { Config } from '../../utils/config';
import { AppError, toAppError } from '../../utils/errors';
import type { Clients } from '../../utils/proxies';
import { knownCallerOf } from '../request';
import { SharedRateLimits } from './shared-rate-limits';

const WINDOW_MS = 60_000;

export interface LimitParts {
  readonly limits: Limits;
  readonly cluster: Cluster;
  readonly metrics: Metrics;
  readonly clients: Clients;
}

type Limits = Pick<Config, 'RATE_LIMIT_PER_MINUTE' | 'RATE_LIMIT_SERVICE_PER_MINUTE'>;

export interface RequestLimit {
  readonly guard: RequestHandler;
  /**
   * Counts a request that writes many rows as that many requests. A caller with anything left may write all of them, as
   * with events; the next request then waits. @throws AppError `rate_limited`
   */
  readonly charge: (request: Request, rows: number) => Promise<void>;
}

/**
 * Limits requests per caller; callers with scope `send` are services, and their limit is higher. `RateLimit` headers
 * follow draft 8 of the IETF's RateLimit fields. Answers 429 `rate_limited` with Retry-After. Nodes count together.
 */
export function limitRequests({ limits, cluster, metrics, clients }: LimitParts): RequestLimit {
  const store = new SharedRateLimits(cluster);
  // A user id cannot be mistaken for an address: the prefixes differ.
  const keyOf = (request: Request) => {
    const caller = knownCallerOf(request);
    if (caller !== undefined) return `caller:${caller.userId}`;
    return `address:${ipKeyGenerator(clients.read(request).address)}`;
  };

  function refusal(request: Request, retryAfterSeconds: number): AppError {
    metrics.rateLimited.requests.inc();
    const variable = variableOf(request);
    const isAddress = knownCallerOf(request) === undefined;
    const what = isAddress ? 'address has sent too many refused tokens' : 'caller has sent too many requests';
    const detail = `This ${what} this minute: ${variable} allows ${limits[variable]}.`;
    return new AppError('rate_limited', detail, { retryAfterSeconds });
  }

  const guard = rateLimit({
    store,
    windowMs: WINDOW_MS,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    identifier: 'caller',
    limit: (request: Request) => limits[variableOf(request)],
    keyGenerator: keyOf,
    handler: (request, response) => {
      throw refusal(request, Number(response.getHeader('Retry-After') ?? WINDOW_MS / 1000));
    },
  });

  async function charge(request: Request, rows: number): Promise<void> {
    const further = rows - 1;
    if (further <= 0) return;
    const before = (await store.add(keyOf(request), further)) - further;
    if (before > limits[variableOf(request)]) throw refusal(request, WINDOW_MS / 1000);
  }

  return { guard, charge };
}

/** The variable that limits this caller. */
function variableOf(request: Request): keyof Limits {
  const caller = knownCallerOf(request);
  const isService = caller !== undefined && holdsScope(caller, 'send');
  return isService ? 'RATE_LIMIT_SERVICE_PER_MINUTE' : 'RATE_LIMIT_PER_MINUTE';
}

/** Limits refused tokens per address: guessing must not be free just because no caller is known. */
export function limitRefusals(parts: LimitParts): ErrorRequestHandler {
  const { guard } = limitRequests(parts);
  return (error, request, response, next) => {
    if (toAppError(error).status !== 401) return next(error);
    guard(request, response, (limited?: unknown) => next(limited ?? error));
  };
}
