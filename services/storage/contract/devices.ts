/** Devices of users, and how far each of them has come. */
import type { Span } from '../rules/slot-row';
import type { Listed, NamePage } from './pages';

/** How far back a further device of a user starts: so many unread messages of each topic. */
export const FURTHER_DEVICE_MESSAGES = 100;

/** Forgotten devices of a user whose names are kept. */
export const MAX_FORGOTTEN_DEVICES = 100;

/** How exactly it is known when a device was last seen. */
export const SEEN_PRECISION_MS = 86_400_000;

/** Where one device stands in one topic: the highest `seq` that it acknowledged. */
export interface Cursor {
  readonly userId: string;
  readonly device: string;
  readonly topic: string;
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Where catch-up of a device begins in a topic. */
export interface Position {
  readonly seq: number;
  /** Up to this `seq` the device receives only unread messages: it was new when the topic was here. 0: everything. */
  readonly unreadUpTo: number;
  /** Spans after `seq` during which the user was not in the topic: no device receives them. Absent if there are none. */
  readonly gaps?: readonly Span[];
}

/** That messages were first written to a connection. */
export interface Sending {
  readonly topic: string;
  readonly from: number;
  readonly upTo: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface Device {
  readonly device: string;
  /** Cursors by topic. */
  readonly cursors: ReadonlyMap<string, number>;
}

/** Where a device stands, by topic. */
export interface OpenedDevice extends ReadonlyMap<string, Position> {
  /** The device was known, was forgotten, and is entered again now: its cursors are lost. */
  readonly wasForgotten: boolean;
}

/** How many devices a user may have. */
export interface DeviceLimit {
  readonly maxDevices: number;
  /** Devices of the user that are connected now: the others go first. */
  readonly connected: ReadonlySet<string>;
}

/** A device that is connected. */
export interface SeenDevice {
  readonly userId: string;
  readonly device: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface DeviceStore {
  /**
   * Where a device stands, by topic. A device seen for the first time is entered, atomically. The first device of a user
   * starts the personal topic at 0, the broadcast topic at its head of when the user was first seen, named topics where
   * the user joined, the log of states at its head. A further device starts each topic before the oldest of the last 100
   * unread messages, and receives only unread ones up to the head of this moment. Beyond the limit, the device that has
   * acknowledged longest ago is forgotten: one that is not connected, as long as there is any.
   */
  open(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice>;

  /**
   * Moves cursors forward; one that would go back is left where it is. Cursors of unknown devices are ignored, and of
   * topics that the user is not in. Everything a cursor passes is acknowledged at `at`, except by the device `default`,
   * whose clients do not acknowledge.
   */
  saveCursors(cursors: readonly Cursor[]): Promise<void>;

  /** Records that devices are connected, to the day. Unknown ones are ignored. */
  saveSeen(devices: readonly SeenDevice[]): Promise<void>;

  /**
   * Forgets devices that were last seen before a time, at most `limit`: they are unknown from now on, and their cursors
   * are removed later. Up to 100 forgotten names of a user are remembered as forgotten; beyond that every unknown
   * name of the user counts as forgotten. @returns how many; 0 when nothing is left to do.
   */
  forgetSilent(before: number, limit: number): Promise<number>;

  /** Records when messages were first written to anybody. Later times for the same message are ignored. */
  saveSent(sendings: readonly Sending[]): Promise<void>;

  /** The devices of a user, by name. */
  list(userId: string, page: NamePage): Promise<Listed<Device>>;
}
