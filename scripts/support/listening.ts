/** A listening connection: what both transports share. */
import type { Access } from './access';

/** What the service sends, in the form of the plain endpoint: `{event, …}`. */
export interface Frame extends Readonly<Record<string, unknown>> {
  readonly event: string;
}

export interface ListenOptions {
  readonly access: Access;
  readonly device: string;
  /** `acknowledge`: this entry and all before it have been handled; does nothing once its connection has ended. */
  onFrame(frame: Frame, acknowledge: () => void): void;
  /** The connection broke; another one is being opened. Called once until it is there. */
  onLost(): void;
  /** It has ended for good: a sentence. */
  onEnd(reason: string): void;
}

export interface Listener {
  /** Continues with a newer token. */
  refresh(token: string): void;
  /** Closes after what was acknowledged has been written. */
  close(): void;
}

export type Listen = (options: ListenOptions) => Listener;

/** The position of a log entry; `undefined` for everything else. */
export function placeOf({ topic, seq }: Frame): { topic: string; seq: number } | undefined {
  return typeof topic === 'string' && typeof seq === 'number' ? { topic, seq } : undefined;
}
