/**
 * The other nodes: what is told to them, and whether it reaches them. Everything here is a hint; the store is the
 * truth.
 */
import type { ClusterFrame } from '../../utils/cluster-protocol';

export type Live = 'ok' | 'degraded';
export type FrameListener = (frame: ClusterFrame, node: string) => void;

export interface Cluster {
  /** Names this run of this node. */
  readonly node: string;
  /** Are there, or may there be, other nodes? */
  readonly isShared: boolean;
  /** What keys of Redis begin with that belong to this service. */
  readonly prefix: string;
  /** Do frames reach the other nodes at once? */
  readonly live: Live;
  /** How often frames have ceased to reach them so far. */
  readonly outages: number;
  /** Frames so far that were not signed as they should be. */
  readonly refusedFrames: number;
  /** Sends a frame to the other nodes. Never fails and never waits: a frame that cannot be sent is lost. */
  publish(frame: ClusterFrame): void;
  /**
   * Carries out a command of Redis, for what nodes share beside frames.
   * @throws when Redis does not answer within a second, and at once while it is known to be away.
   */
  command(words: readonly string[]): Promise<unknown>;
  /**
   * Calls `listener` for each frame of another node from now on.
   * @throws ClusterOpenError
   */
  open(listener: FrameListener): Promise<void>;
  close(): Promise<void>;
}

/** One node alone. */
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

/** How often a node says that it is there; the roster does. */
export const BEAT_INTERVAL_MS = 500;
