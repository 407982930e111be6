/** What is done to all connections of a user, on all nodes. */
import type { FrameOf } from '../../utils/cluster-protocol';
import type { ClosingCode, Invitation } from '../../utils/protocol';
import type { Cluster } from '../cluster/contract';
import type { FrameFor } from '../cluster/frames';
import type { Connection, Connections } from '../delivery/connections';
import type { Cursors } from '../delivery/cursors';
import type { Delivery } from '../delivery/delivery';
import type { Logger } from '../observability/logger';
import type { Presence } from '../presence/presence';
import type { Roster } from '../presence/roster';
import type { Sessions } from './sessions';

export interface UserSessionParts {
  readonly sessions: Sessions;
  readonly connections: Connections;
  readonly delivery: Delivery;
  readonly cluster: Cluster;
  readonly roster: Roster;
  readonly presence: Presence;
  readonly cursors: Cursors;
  readonly logger: Logger;
}

export class UserSessions {
  constructor(private readonly parts: UserSessionParts) {}

  /** Does what another node requests. */
  receive(frame: FrameFor<'userSessions'>): void {
    if (frame.kind === 'follow') this.#followHere(frame);
    else if (frame.kind === 'unfollow') this.#unfollowHere(frame.userId, frame.topic);
    else if (frame.kind === 'unfollow-all') this.#unfollowAllHere(frame.topic);
    else if (frame.kind === 'disconnect') this.#disconnectHere(frame.userId, frame.code, frame);
    else this.#renewHere(frame.userId);
  }

  /** The user has joined a topic, or was added to it: the user's connections follow it. */
  follow(userId: string, topic: string, start: number, invitation?: Invitation): void {
    const followed = { userId, topic, start, ...(invitation === undefined ? {} : { invitation }) };
    this.#followHere(followed);
    this.parts.cluster.publish({ kind: 'follow', ...followed });
  }

  #followHere({ userId, topic, invitation }: Omit<FrameOf<'follow'>, 'kind'>): void {
    const { connections, sessions, delivery } = this.parts;
    for (const connection of connections.ofUser(userId)) {
      if (invitation !== undefined) connection.send('topic:joined', { name: topic, ...invitation });
      void sessions.catchUp(connection, () => delivery.follow(connection, topic));
    }
  }

  /** The user has left the topic. */
  unfollow(userId: string, topic: string): void {
    this.#unfollowHere(userId, topic);
    this.parts.cluster.publish({ kind: 'unfollow', userId, topic });
  }

  #unfollowHere(userId: string, topic: string): void {
    for (const connection of this.parts.connections.ofUser(userId)) this.parts.delivery.unfollow(connection, topic);
  }

  /** The topic was deleted: nobody follows it any more. */
  unfollowAll(topic: string): void {
    this.#unfollowAllHere(topic);
    this.parts.cluster.publish({ kind: 'unfollow-all', topic });
  }

  #unfollowAllHere(topic: string): void {
    this.parts.delivery.drop(topic).catch((error: unknown) => {
      this.parts.logger.error({ err: error, topic }, 'connections could not leave a deleted topic');
    });
  }

  /**
   * Closes connections of a user, all of them or those of one device. A user who logs out is offline at once.
   * @returns how many; on other nodes as far as those have published them and can be reached.
   */
  disconnect(userId: string, code: ClosingCode, options: { reason: string; device?: string }): number {
    const { roster, cluster } = this.parts;
    const elsewhere = cluster.live === 'ok' ? roster.countElsewhere(userId, options.device) : 0;
    const here = this.#disconnectHere(userId, code, options);
    cluster.publish({ kind: 'disconnect', userId, code, ...options });
    return here + elsewhere;
  }

  #disconnectHere(
    userId: string,
    code: ClosingCode,
    { reason, device }: { reason: string; device?: string | undefined },
  ): number {
    const { connections, sessions, presence } = this.parts;
    const all = connections.ofUser(userId);
    const chosen = device === undefined ? all : all.filter((connection) => connection.device === device);
    for (const connection of chosen) sessions.end(connection, code, reason);
    if (code === 'logged_out') presence.loggedOut(userId);
    return chosen.length;
  }

  /**
   * Changes what is stored about a user while none of the user's connections depends on it. Afterwards they are closed,
   * and their clients come back to the new state.
   */
  async renew<Result>(userId: string, work: () => Promise<Result>): Promise<Result> {
    const connections = this.#leaveAll(userId);
    try {
      return await work();
    } finally {
      // Connections that were opened in between depend on what was removed.
      this.#closeErased([...connections, ...this.#leaveAll(userId)]);
      // What a connection on another node wrote meanwhile belongs to a device that no longer exists.
      this.parts.cluster.publish({ kind: 'renew', userId });
    }
  }

  #renewHere(userId: string): void {
    const connections = this.#leaveAll(userId);
    this.parts.cursors.forget(userId);
    this.#closeErased(connections);
  }

  #leaveAll(userId: string): readonly Connection[] {
    const connections = this.parts.connections.ofUser(userId);
    for (const connection of connections) this.parts.sessions.leave(connection);
    return connections;
  }

  #closeErased(connections: readonly Connection[]): void {
    const closing = { code: 'going_away', reason: 'The data of this user was erased.', retryInMs: 0 } as const;
    for (const connection of connections) this.parts.sessions.close(connection, closing, { isFinal: false });
  }
}
