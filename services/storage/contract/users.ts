/** What is known of a user. */
export interface User {
  /** Milliseconds since the epoch at which the last connection of the user ended; absent before the first end. */
  readonly lastSeenAt?: number;
  /** Head of the broadcast topic when the user first connected: earlier broadcasts are not the user's. */
  readonly broadcastStart: number;
}

/** What an erasure took. */
export interface Erased {
  readonly messages: number;
  readonly devices: number;
  readonly memberships: number;
  readonly scheduled: number;
}

export interface UserStore {
  /** What is known of a user; `undefined` for one who never connected. */
  get(userId: string): Promise<User | undefined>;

  /** Records when the last connections of users ended, in milliseconds since the epoch. Unknown users are ignored. */
  saveLastSeen(times: ReadonlyMap<string, number>): Promise<void>;

  /**
   * Erases a user: the messages of the personal topic, states, memberships, devices, cursors, what the user has
   * scheduled or was to get, and kept answers. The personal topic keeps its `seq` and the mark of its erasure.
   * What the user has said to others is theirs and stays, tokens that were revoked stay so, and the audit
   * log keeps the name. What is begun is ended by `removals.advance` when the process ends in between.
   */
  erase(userId: string): Promise<Erased>;
}
