/**
 * Ready tokens for the first minute, if the service uses the secret that it made itself: printed by the banner, and
 * given to the test page in a browser on the same machine. docs/decisions/0015 has the attacks that this must stop.
 */
import { BlockList, isIPv6 } from 'node:net';
import type { Request } from 'express';
import type { MakeToken } from '../services/tokens/configured-keys';
import { AppError } from '../utils/errors';
import { isSamePlace } from '../utils/origins';
import { answer } from './answer';
import type { Route } from './routes';

const DAY_SECONDS = 86_400;
const SERVICE = 'service';
const SERVICE_SCOPE = 'send broadcast presence admin';

/** Users of the banner and the test page. */
export const SAMPLE_USERS = ['user123', 'user456', 'user789'] as const;

export interface SampleTokens {
  readonly users: readonly { readonly userId: string; readonly token: string }[];
  /** Has every scope. */
  readonly service: { readonly userId: string; readonly token: string };
}

/** Tokens of the sample users and of a sending service, valid for one day. */
export function makeSampleTokens(makeToken: MakeToken): SampleTokens {
  return {
    users: SAMPLE_USERS.map((userId) => ({ userId, token: makeToken(userId, undefined, DAY_SECONDS) })),
    service: { userId: SERVICE, token: makeToken(SERVICE, SERVICE_SCOPE, DAY_SECONDS) },
  };
}

/** None if a key was configured: then the path does not exist. */
export function developmentRoutes(makeToken: MakeToken | undefined): Route[] {
  if (makeToken === undefined) return [];
  return [
    {
      method: 'post',
      path: '/development/tokens',
      handlers: [
        (request, response) => {
          assertOwnPageHere(request);
          response.removeHeader('Access-Control-Allow-Origin');
          response.set({ 'Cache-Control': 'no-store', 'Cross-Origin-Resource-Policy': 'same-origin' });
          answer(response, makeSampleTokens(makeToken));
        },
      ],
    },
  ];
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Not any name that resolves to this machine: the owner of a name could point it here (DNS rebinding). */
const LOOPBACK_NAMES = new Set(['localhost', '127.0.0.1', '[::1]']);
const REFUSAL =
  'Development tokens are given only to the test page, opened at http://localhost or http://127.0.0.1 on the machine ' +
  'of the service. Elsewhere copy one from what the service printed when it started.';
const FORWARDING_HEADERS = [
  ...['forwarded', 'via', 'x-real-ip'],
  ...['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-prefix'],
];

/** @throws AppError `forbidden` unless the request comes from the service's own page, in a browser on this machine. */
function assertOwnPageHere(request: Request): void {
  const { host = '', origin } = request.headers;
  const isOwnPage = origin?.startsWith('http://') === true && isSamePlace(origin, host) && isLoopbackHost(origin);
  const isForwarded = FORWARDING_HEADERS.some((name) => request.headers[name] !== undefined);
  if (isOwnPage && !isForwarded && isLoopbackAddress(request.socket.remoteAddress)) return;
  throw new AppError('forbidden', REFUSAL);
}

function isLoopbackHost(origin: string): boolean {
  return URL.canParse(origin) && LOOPBACK_NAMES.has(new URL(origin).hostname);
}

function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false;
  // Includes the form in which a dual-stack socket writes IPv4: ::ffff:127.0.0.1.
  return loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
