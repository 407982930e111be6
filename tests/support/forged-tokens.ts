/** Tokens that no honest issuer makes. */
import { createHmac, createSign, type KeyObject } from 'node:crypto';
import { TEST_SECRET } from './service';

type Signature = (input: string) => string;

export const hs256 =
  (secret: string | Buffer = TEST_SECRET): Signature =>
  (input) =>
    createHmac('sha256', secret).update(input).digest('base64url');

export const rs256 =
  (key: KeyObject): Signature =>
  (input) =>
    createSign('sha256').update(input).sign(key, 'base64url');

/** A token of these parts, whatever they are. A payload that is a string is used unchanged. */
export function forge(header: object, payload: unknown, sign: Signature = hs256()): string {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  const input = `${encode(JSON.stringify(header))}.${encode(text)}`;
  return `${input}.${sign(input)}`;
}

/** A token signed with the service's secret, but with wrong claims. */
export function forgeClaims(claims: unknown, header: object = {}): string {
  return forge({ alg: 'HS256', typ: 'JWT', ...header }, claims);
}

function encode(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url');
}
