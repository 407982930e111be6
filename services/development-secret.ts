/** The secret of a service that was given none: made once, kept in the data directory, readable by its owner only. */
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FILE_NAME = 'development-jwt-secret';
const SECRET_BYTES = 32;

/** Reads the secret in `directory`, making it first where there is none. */
export function developmentSecret(directory: string): KeyObject {
  const path = join(directory, FILE_NAME);
  if (!existsSync(path)) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(path, randomBytes(SECRET_BYTES).toString('base64url'), { mode: 0o600, flag: 'wx' });
  }
  return createSecretKey(Buffer.from(readFileSync(path, 'utf8').trim(), 'utf8'));
}
