/** A token issuer in this process: it publishes its keys, and can be slow, wrong or down. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import jwt from 'jsonwebtoken';
import { onTestEnd } from './temporary';

export interface SigningKey {
  readonly kid: string;
  readonly algorithm: 'RS256' | 'ES256';
  readonly privateKey: KeyObject;
  /** As it is published. */
  readonly jwk: Readonly<Record<string, unknown>>;
}

export function makeKey(kid: string, algorithm: 'RS256' | 'ES256' = 'ES256'): SigningKey {
  const { publicKey, privateKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: algorithm };
  return { kid, algorithm, privateKey, jwk };
}

/** A token as the issuer makes it. `kid`: another name than the key's; `null`: none. */
export function signWith(
  { privateKey, algorithm, kid }: SigningKey,
  claims: object,
  options: { kid?: string | null } = {},
): string {
  const named = options.kid === undefined ? kid : options.kid;
  return jwt.sign(claims, privateKey, { algorithm, ...(named === null ? {} : { keyid: named }) });
}

/** Answers a request for the key set. */
export type Behaviour = (response: ServerResponse) => void;

export interface Issuer {
  readonly url: string;
  /** Requests for the key set so far. */
  readonly requests: number;
  /** From now on, publishes these keys and nothing else. */
  publish(...keys: readonly SigningKey[]): void;
  /** From now on, answers differently. */
  behave(behaviour: Behaviour): void;
  /** Nothing listens any more, until `comeBack`. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
}

export async function startIssuer(...keys: readonly SigningKey[]): Promise<Issuer> {
  let requests = 0;
  let behaviour = publishing(keys);
  const server = createServer((_request, response) => {
    requests += 1;
    behaviour(response);
  });
  async function listen(port: number): Promise<void> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  }
  async function stop(): Promise<void> {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }
  await listen(0);
  onTestEnd(stop);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/.well-known/jwks.json`,
    get requests() {
      return requests;
    },
    publish: (...published) => {
      behaviour = publishing(published);
    },
    behave: (other) => {
      behaviour = other;
    },
    goAway: stop,
    comeBack: () => listen(port),
  };
}

function publishing(keys: readonly SigningKey[]): Behaviour {
  return answering(JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }));
}

export function answering(text: string, status = 200): Behaviour {
  return (response) => {
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(text);
  };
}
