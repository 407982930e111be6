import { createHash } from 'node:crypto';
import type { Draft } from '../contract';

/**
 * What a message said when it was sent, for comparison with what is sent under its id later: the message itself may
 * have been changed or be gone by then. Times are left out: a repeated `ttl` counts from a later moment.
 */
export function fingerprintOf({ topic, type, event, data, exceptUserId }: Draft): string {
  const said = JSON.stringify([topic, type, event ?? null, exceptUserId ?? null, data]);
  return createHash('sha256').update(said).digest('base64url');
}
