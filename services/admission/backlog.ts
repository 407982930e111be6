/**
 * The one bound of what is answered and not taken. Whatever leaves the service, by whatever door, waits in memory while
 * its client does not read: of one connection at most MAX_BUFFERED_BYTES, of one user 16 times that, over all
 * connections and HTTP answers of this node.
 */
import type { Config } from '../../utils/config';
import { AppError } from '../../utils/errors';
import type { Connection, Connections } from '../sockets/connections';
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
  /** With no more than this in any connection a user is within the bound. */
  readonly #share: number;

  constructor(private readonly parts: BacklogParts) {
    const { MAX_BUFFERED_BYTES, MAX_CONNECTIONS_PER_USER } = parts.config;
    this.#perConnection = MAX_BUFFERED_BYTES;
    this.#perUser = CONNECTIONS_OF_A_USER * MAX_BUFFERED_BYTES;
    this.#share = this.#perUser / MAX_CONNECTIONS_PER_USER;
  }

  /** Does more wait for this connection, or in it for its user, than may? Then it is to be cut. */
  isExceededBy({ userId, unsentBytes }: Pick<Connection, 'userId' | 'unsentBytes'>): boolean {
    if (unsentBytes > this.#perConnection) return true;
    const untaken = this.parts.answers.bytesOf(userId);
    return (unsentBytes > this.#share || untaken > 0) && this.#isFull(userId, untaken);
  }

  /** @throws AppError `rate_limited` while the answers to a user's requests are not taken, and more have no room. */
  assertRoom(userId: string): void {
    const untaken = this.parts.answers.bytesOf(userId);
    if (untaken === 0 || !this.#isFull(userId, untaken)) return;
    throw new AppError(
      'rate_limited',
      `Answers to this caller wait to be read: more than ${CONNECTIONS_OF_A_USER} times MAX_BUFFERED_BYTES, ${this.#perUser} bytes.`,
    );
  }

  #isFull(userId: string, untaken: number): boolean {
    return untaken + this.parts.connections.unsentBytesOf(userId) > this.#perUser;
  }
}
