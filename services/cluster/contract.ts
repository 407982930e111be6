/**
 * The other nodes: publishing frames to them, and whether these arrive. Every frame is a hint; the store is the truth.
 */
import type { ClusterFrame } from '../../utils/cluster-protocol';

export type Live = 'ok' | 'degraded';
export type FrameListener = (frame: ClusterFrame, node: string) => void;

export interface Cluster {
  /** Names this run of this node. */
  readonly node: string;
  /** Are there, or may there be, other nodes? */
  readonly isShared: boolean;
  /** Prefix of the Redis keys of this service. */
  readonly prefix: string;
  /** Do frames reach the other nodes at once? */
  readonly live: Live;
  /** How often so far frames have stopped reaching them. */
  readonly outages: number;
  /** Frames received so far without a valid signature. */
  readonly refusedFrames: number;
  /** Sends a frame to the other nodes. Never fails and never waits: a frame that cannot be sent is lost. */
  publish(frame: ClusterFrame): void;
  /**
   * Runs a Redis command, for state that nodes share besides frames.
   * @throws when Redis does not answer within a second, and immediately while it is known to be unavailable.
   */
  command(words: readonly string[]): Promise<unknown>;
  /**
   * Calls `listener` for each frame of another node from now on.
   * @throws ClusterOpenError
   */
  open(listener: FrameListener): Promise<void>;
  close(): Promise<void>;
}

/** A single node. */
export function createSingleNode(nodeId: string): Cluster {
  const command = () => Promise.reject(new Error('there is no Redis'));
  return {
    node: nodeId,
    isShared: false,
    prefix: '',
    outages: 0,
    refusedFrames: 0,
    live: 'ok',
    publish: () => {},
    command,
    open: async () => {},
    close: async () => {},
  };
}

/** Redis cannot be reached at start, or refuses the password. The message is a sentence for the operator. */
export class ClusterOpenError extends Error {
  override readonly name = 'ClusterOpenError';
}

/** How often the roster of a node publishes a heartbeat. */
export const BEAT_INTERVAL_MS = 500;
