/** What other nodes have done. */
import type { Revocation } from './revocations';

/** What has become of a membership; without a user: of all that a topic had when it was deleted. */
export interface MembershipChange {
  readonly topic: string;
  readonly userId?: string;
  readonly isMember: boolean;
}

/** What any node has done since a time: in milliseconds since the epoch, by the clock of the node that did it. */
export interface RecentStore {
  /** The logs that got entries, each with its last `seq`. One cheap query, however many logs there are. */
  heads(since: number): Promise<ReadonlyMap<string, number>>;

  /**
   * Memberships that have begun or ended, as they are now, and topics that were deleted. A few cheap queries, however
   * many memberships there are.
   */
  memberships(since: number): Promise<readonly MembershipChange[]>;

  /** Revocations that were kept, or grew. One cheap query, however many there are. */
  revocations(since: number): Promise<readonly Revocation[]>;
}
