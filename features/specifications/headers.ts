/** Headers of answers. */
import { type ErrorCode, kindOf } from '../../utils/errors';
import type { JsonSchema } from './json-schema';
import type { Operation } from './operations/operation';

export const HEADERS = {
  'X-Request-Id': { description: 'Also in the log and in problems.', schema: { type: 'string', format: 'uuid' } },
  RateLimit: {
    description: 'Remaining requests in this minute, in the form of draft 8 of the RateLimit fields.',
    schema: { type: 'string' },
    example: '"caller"; r=599; t=60',
  },
  'RateLimit-Policy': {
    description: 'The limit, in the same form.',
    schema: { type: 'string' },
    example: '"caller"; q=600; w=60; pk=:MTIzNDU2Nzg5MGFi:',
  },
  'Retry-After': { description: 'Seconds to wait.', schema: { type: 'integer', minimum: 0 } },
  'Idempotent-Replay': {
    description: '`true` on the answer to a repeated `id` or `Idempotency-Key`.',
    schema: { type: 'string', const: 'true' },
  },
  'WWW-Authenticate': { description: 'Authentication scheme.', schema: { type: 'string', const: 'Bearer' } },
} as const;

export type HeaderName = keyof typeof HEADERS;

/** Headers of every answer of a route. */
export function commonHeaders({ scope }: Operation): HeaderName[] {
  return scope === 'public' ? ['X-Request-Id'] : ['X-Request-Id', 'RateLimit', 'RateLimit-Policy'];
}

/** Headers of a problem. */
export function headersFor(codes: readonly ErrorCode[]): HeaderName[] {
  if (codes.includes('unauthorized')) return ['WWW-Authenticate'];
  return codes.some((code) => kindOf(code).retryAfterSeconds !== undefined) ? ['Retry-After'] : [];
}

export function headersOf(names: readonly HeaderName[]): Record<string, JsonSchema> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}
