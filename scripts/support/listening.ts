/** A connection that listens: what both transports have in common. */
import type { Access } from './access';

/** What the service tells, in the form of the plain endpoint: `{event, …}`. */
export interface Frame extends Readonly<Record<string, unknown>> {
  readonly event: string;
}

export interface ListenOptions {
  readonly access: Access;
  readonly device: string;
  /** `acknowledge`: this entry and all before it have been dealt with; nothing when its connection is gone. */
  onFrame(frame: Frame, acknowledge: () => void): void;
  /** The connection broke; another one is being opened. Told once until it is there. */
  onLost(): void;
  /** It ended for good: a sentence. */
  onEnd(reason: string): void;
}

export interface Listener {
  /** Goes on with a newer token. */
  refresh(token: string): void;
  /** Closes after what was acknowledged has been written. */
  close(): void;
}

export type Listen = (options: ListenOptions) => Listener;

/** The place of an entry of a log; `undefined` for everything else. */
export function placeOf({ topic, seq }: Frame): { topic: string; seq: number } | undefined {
  return typeof topic === 'string' && typeof seq === 'number' ? { topic, seq } : undefined;
}
