import type { ErrorRequestHandler, Request, RequestHandler } from 'express';
import { ipKeyGenerator, rateLimit } from 'express-rate-limit';
import type { Cluster } from '../../services/cluster';
import type { Metrics } from '../../services/metrics';
import type { Config } from '../../utils/config';
import { AppError, toAppError } from '../../utils/errors';
import { holdsScope } from '../../utils/jwt';
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

/**
 * Limits requests per caller; callers with scope `send` are services and may do more. `RateLimit` headers follow
 * draft 8 of the IETF's RateLimit fields. Answers 429 `rate_limited` with Retry-After. Nodes count together.
 */
export function limitRequests({ limits, cluster, metrics, clients }: LimitParts): RequestHandler {
  return rateLimit({
    ...(cluster.isShared ? { store: new SharedRateLimits(cluster) } : {}),
    windowMs: WINDOW_MS,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    identifier: 'caller',
    limit: (request: Request) => limits[variableOf(request)],
    // A user id cannot be mistaken for an address: the prefixes differ.
    keyGenerator: (request: Request) => {
      const caller = knownCallerOf(request);
      if (caller !== undefined) return `caller:${caller.userId}`;
      return `address:${ipKeyGenerator(clients.read(request).address)}`;
    },
    handler: (request, response) => {
      metrics.rateLimited.requests.inc();
      const seconds = Number(response.getHeader('Retry-After') ?? WINDOW_MS / 1000);
      const variable = variableOf(request);
      const what =
        knownCallerOf(request) === undefined
          ? 'address has used up its refused tokens'
          : 'caller has used up its requests';
      throw new AppError('rate_limited', `This ${what} of this minute: ${variable} allows ${limits[variable]}.`, {
        retryAfterSeconds: seconds,
      });
    },
  });
}

/** The variable that limits who calls. */
function variableOf(request: Request): keyof Limits {
  const caller = knownCallerOf(request);
  const isService = caller !== undefined && holdsScope(caller, 'send');
  return isService ? 'RATE_LIMIT_SERVICE_PER_MINUTE' : 'RATE_LIMIT_PER_MINUTE';
}

/** Limits refused tokens per address: guessing must not be free because nobody is known to count for. */
export function limitRefusals(parts: LimitParts): ErrorRequestHandler {
  const limit = limitRequests(parts);
  return (error, request, response, next) => {
    if (toAppError(error).status !== 401) return next(error);
    limit(request, response, (limited?: unknown) => next(limited ?? error));
  };
}
