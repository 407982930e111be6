/** Who is connected, and when a user was last seen. */
import type { Cursors } from '../services/delivery/cursors';
import type { Roster } from '../services/presence/roster';
import type { NamePage } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { listQuerySchema, longListQuerySchema, parseField, parseInput, userIdSchema } from '../utils/schemas';
import { fitPage, readPage } from './paging';

export interface ConnectedUsersParts {
  readonly roster: Roster;
  readonly cursors: Pick<Cursors, 'lastSeen'>;
  readonly clock: Clock;
}

export interface UserStatusAnswer {
  readonly userId: string;
  readonly connected: boolean;
  readonly sockets: number;
  readonly devices: number;
  /**
   * ISO 8601: now for a connected user, otherwise the end of the last connection; `null` for a user who never
   * connected.
   */
  readonly lastSeen: string | null;
}

/** `count`: on all pages. */
interface ConnectedUsers {
  readonly users: readonly string[];
  readonly count: number;
  readonly nextCursor: string | null;
}

export type ConnectedUsersOperations = ReturnType<typeof createConnectedUsers>;

const MAX_LISTED_USERS = 1_000;
const MAX_USERS_AT_ONCE = 10_000;
const LIST = 'users';

export function createConnectedUsers({ roster, cursors, clock }: ConnectedUsersParts) {
  /** By name, in pages of at most 1,000. `count`: all of them. */
  function connectedUsers(query: unknown): ConnectedUsers {
    return connectedPage(readPage(LIST, parseInput(listQuerySchema, query), MAX_LISTED_USERS));
  }

  /** The same for clients of the gateway, which request all at once. */
  function connectedNow(query: unknown): ConnectedUsers & { readonly sockets: number } {
    const wanted = readPage(LIST, parseInput(longListQuerySchema, query), MAX_USERS_AT_ONCE);
    return { ...connectedPage(wanted), sockets: roster.count };
  }

  function connectedPage(wanted: NamePage): ConnectedUsers {
    const { page: users, nextCursor } = fitPage(LIST, roster.usersAfter(wanted), (userId) => userId);
    return { users, count: roster.userCount, nextCursor };
  }

  async function userStatus(userId: string): Promise<UserStatusAnswer> {
    const status = roster.statusOf(parseField('userId', userIdSchema, userId));
    const lastSeen = status.connected ? clock.now() : await cursors.lastSeen(userId);
    return { userId, ...status, lastSeen: lastSeen === undefined ? null : toIsoTime(lastSeen) };
  }

  return { connectedUsers, connectedNow, userStatus };
}
