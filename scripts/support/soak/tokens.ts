import { createSecretKey, randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { JWT_SECRET } from '../../../bench/support/tokens';

const key = createSecretKey(Buffer.from(JWT_SECRET, 'utf8'));
const foreignKey = createSecretKey(Buffer.from('a secret that the service does not have', 'utf8'));

/** A token that the service has not seen before: no cache may grow with them. */
export function freshToken(userId: string, scope?: string): string {
  return jwt.sign(scope === undefined ? {} : { scope }, key, {
    subject: userId,
    jwtid: randomUUID(),
    expiresIn: '12h',
  });
}

/** A token that is refused. */
export function foreignToken(userId: string): string {
  return jwt.sign({}, foreignKey, { subject: userId, jwtid: randomUUID(), expiresIn: '1h' });
}

/** One that expired an hour ago. */
export function expiredToken(userId: string): string {
  return jwt.sign({}, key, { subject: userId, jwtid: randomUUID(), expiresIn: '-1h' });
}
