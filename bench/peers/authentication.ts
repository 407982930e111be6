/** What both peers on Express do alike: bodies, and tokens checked with a key that was made once. */
import { createSecretKey } from 'node:crypto';
import type { NextFunction, Request, Response } from 'express';
import jwt from 'jsonwebtoken';

export interface SendBody {
  readonly userId: string;
  readonly type: string;
  readonly data: unknown;
}

const key = createSecretKey(Buffer.from(process.env.JWT_SECRET ?? '', 'utf8'));

export function verify(token: string): string {
  const claims = jwt.verify(token, key, { algorithms: ['HS256'] });
  return String(claims.sub);
}

export function authenticate(request: Request, response: Response, next: NextFunction): void {
  try {
    verify((request.headers.authorization ?? '').slice('Bearer '.length));
  } catch {
    response.status(401).json({ error: 'unauthorized' });
    return;
  }
  next();
}
