/** What can be done to the service, by name, and how often it is chosen. */
import { changing } from './changing';
import { connecting } from './connecting';
import { disturbing } from './disturbing';
import { joining } from './joining';
import type { Scene } from './scene';
import { sending } from './sending';

/** Plain data, so that a failure can be shrunk and replayed. What the numbers choose depends on what exists. */
export interface Command {
  readonly kind: string;
  readonly a: number;
  readonly b: number;
  /** Consecutive ones of one burst are started without waiting. */
  readonly burst: number;
}

export interface Act {
  readonly weight: number;
  /** Nothing else happens meanwhile. */
  readonly isAlone?: boolean;
  /** @returns `undefined` if there is nothing that it could be done to. */
  readonly begin: (scene: Scene, a: number, b: number) => Promise<unknown> | undefined;
}

export type Acts = Readonly<Record<string, Act>>;

export const ACTS: Acts = { ...sending, ...changing, ...joining, ...connecting, ...disturbing };
