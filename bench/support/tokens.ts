import { createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';

/** The secret with which every server of the benchmark is started. */
export const JWT_SECRET = 'a secret for nothing but this benchmark';

const key = createSecretKey(Buffer.from(JWT_SECRET, 'utf8'));

/** A token as a person's browser has it. */
export function createUserToken(userId: string): string {
  return jwt.sign({ sub: userId }, key, { algorithm: 'HS256', expiresIn: '1h' });
}

/** A token as a sending service has it. */
export function createServiceToken(): string {
  const claims = { sub: 'bench-service', scope: 'send broadcast presence admin' };
  return jwt.sign(claims, key, { algorithm: 'HS256', expiresIn: '1h' });
}
