/**
 * The bound on unread output. Whatever leaves the service waits in memory until its client reads it: at most
 * MAX_BUFFERED_BYTES for one connection, and 16 times that for one user, over all connections and HTTP answers of this
 * node.
 */
import type { Config } from '../../utils/config';
import { AppError } from '../../utils/errors';
import type { Connection, Connections } from '../delivery/connections';
import type { UntakenAnswers } from './untaken-answers';

const CONNECTIONS_OF_A_USER = 16;

export interface BacklogParts {
  readonly connections: Pick<Connections, 'unsentBytesOf'>;
  readonly answers: Pick<UntakenAnswers, 'bytesOf'>;
  readonly config: Pick<Config, 'MAX_BUFFERED_BYTES' | 'MAX_CONNECTIONS_PER_USER'>;
}

export class Backlog {
  readonly #perConnection: number;
  readonly #perUser: number;
  /** A user with no more than this in any one connection is within the bound. */
  readonly #share: number;

  constructor(private readonly parts: BacklogParts) {
    const { MAX_BUFFERED_BYTES, MAX_CONNECTIONS_PER_USER } = parts.config;
    this.#perConnection = MAX_BUFFERED_BYTES;
    this.#perUser = CONNECTIONS_OF_A_USER * MAX_BUFFERED_BYTES;
    this.#share = this.#perUser / MAX_CONNECTIONS_PER_USER;
  }

  /** Does more wait than is allowed, on this connection or for its user? Then the connection must be cut. */
  isExceededBy({ userId, unsentBytes }: Pick<Connection, 'userId' | 'unsentBytes'>): boolean {
    if (unsentBytes > this.#perConnection) return true;
    const untaken = this.parts.answers.bytesOf(userId);
    return (unsentBytes > this.#share || untaken > 0) && this.#isFull(userId, untaken);
  }

  /** @throws AppError `rate_limited` while a user leaves so many answers unread that there is no room for more. */
  assertRoom(userId: string): void {
    const untaken = this.parts.answers.bytesOf(userId);
    if (untaken === 0 || !this.#isFull(userId, untaken)) return;
    throw new AppError(
      'rate_limited',
      `This caller does not read its answers: more than ${this.#perUser} bytes are waiting (${CONNECTIONS_OF_A_USER} times MAX_BUFFERED_BYTES).`,
    );
  }

  #isFull(userId: string, untaken: number): boolean {
    return untaken + this.parts.connections.unsentBytesOf(userId) > this.#perUser;
  }
}
