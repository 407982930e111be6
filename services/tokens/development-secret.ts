/**
 * The secret of a service that was configured without one: generated once, in the data directory, readable by its owner
 * only.
 */
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../../utils/config';
import { describeFault, prepareDirectory } from '../../utils/directory';

const FILE_NAME = 'development-jwt-secret';
const SECRET_BYTES = 32;

/** Reads the secret in `directory`, generating it on first use. @throws ConfigError when that fails. */
export function developmentSecret(directory: string): KeyObject {
  const fault = prepareDirectory(directory);
  if (fault !== undefined) throw refused(directory, fault);
  const path = join(directory, FILE_NAME);
  try {
    if (!existsSync(path)) writeFileSync(path, makeSecret(), { mode: 0o600, flag: 'wx' });
    return createSecretKey(Buffer.from(readFileSync(path, 'utf8').trim(), 'utf8'));
  } catch (error) {
    throw refused(path, describeFault(error));
  }
}

function makeSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url');
}

function refused(path: string, fault: string): ConfigError {
  return new ConfigError([`DATA_DIR cannot be used: ${path} ${fault}`]);
}
