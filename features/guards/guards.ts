/** Guards that routes put before their handlers. Built once in features/index.ts. */
import type { RequestHandler } from 'express';
import type { Caller } from '../../utils/caller';
import type { Clients } from '../../utils/proxies';
import type { authorize } from './authorize';
import type { RequestLimit } from './limit-requests';
import type { createReadInTurn } from './read-in-turn';
import type { createSendOnce } from './send-once';

export interface Guards {
  /** A valid token, within the caller's rate. */
  readonly authenticated: readonly RequestHandler[];
  /** Counts a request that writes many rows as many requests. */
  readonly charge: RequestLimit['charge'];
  /** A JSON body within the limit. */
  readonly withBody: readonly RequestHandler[];
  /** The same, or no body at all. */
  readonly withOptionalBody: readonly RequestHandler[];
  readonly authorize: typeof authorize;
  /** Exempts the user named in the path from the scope. */
  readonly isOneself: (caller: Caller, userId: string | undefined) => boolean;
  readonly readInTurn: ReturnType<typeof createReadInTurn>;
  readonly sendOnce: ReturnType<typeof createSendOnce>;
  /** Not a guard: who is behind the proxies, and the beginning of links. */
  readonly clients: Clients;
}
