import { createHash } from 'node:crypto';
import type { Draft } from '../contract';

/**
 * A fingerprint of what was sent, to compare with what is sent under its id later: the message may have changed by
 * then. Without times: a repeated `ttl` counts from a later moment.
 */
export function fingerprintOf({ topic, type, event, data, exceptUserId }: Draft): string {
  const said = JSON.stringify([topic, type, event ?? null, exceptUserId ?? null, data]);
  return createHash('sha256').update(said).digest('base64url');
}
