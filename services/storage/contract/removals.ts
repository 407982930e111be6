export interface RemovalStore {
  /**
   * Removes a part of what deleted topics, forgotten devices and interrupted erasures have left, for some milliseconds.
   * What is under way is known after a crash, and several nodes may do it at once. @returns false when nothing is left.
   */
  advance(): Promise<boolean>;
}
