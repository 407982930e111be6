/** Refusals of handshakes and client events: counted, and logged when the fault is ours. */
import { randomUUID } from 'node:crypto';
import { type AppError, type Problem, toProblem } from '../../utils/errors';
import { describeFailure } from '../observability/describe-failure';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';

export interface RefusalParts {
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export class Refusals {
  constructor(private readonly parts: RefusalParts) {}

  /** Counts whatever was thrown, as an error of the catalogue. */
  count(thrown: unknown, requestId?: string): AppError {
    const error = describeFailure(thrown);
    this.parts.metrics.refusals.inc({ code: error.code });
    if (error.code === 'internal') this.parts.logger.error({ err: error.cause, requestId }, 'a client event failed');
    return error;
  }

  /** The same as a problem. It has an id only where there is a fault to look for in the log. */
  problemOf(thrown: unknown, origin: string): Problem {
    const requestId = randomUUID();
    const error = this.count(thrown, requestId);
    return toProblem(error, error.code === 'internal' ? { origin, requestId } : { origin });
  }
}
