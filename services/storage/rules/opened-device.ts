/** Where a device stands, in every engine. */
import type { DeviceLimit, OpenedDevice, Position } from '../contract';
import { passGaps } from './gaps';
import type { Span } from './slot-row';

export class Opened extends Map<string, Position> implements OpenedDevice {
  constructor(
    positions: Iterable<readonly [string, Position]>,
    readonly wasForgotten = false,
  ) {
    super(positions);
  }
}

/** What is known of a device beside its cursors. */
export interface DeviceFacts {
  readonly device: string;
  /** When it last acknowledged something, or was entered. */
  readonly ackedAt: number;
}

/** Forgotten when one is opened: what the bound was lowered by goes over the next openings. */
const FORGOTTEN_AT_ONCE = 10;

/**
 * Which devices make room for one more: those that have acknowledged longest ago, and those that are connected only
 * when no other is left.
 */
export function devicesToForget(devices: readonly DeviceFacts[], limit: DeviceLimit | undefined): DeviceFacts[] {
  if (limit === undefined) return [];
  const { maxDevices, connected } = limit;
  const isLater = (one: DeviceFacts, other: DeviceFacts) =>
    Number(connected.has(one.device)) - Number(connected.has(other.device)) || one.ackedAt - other.ackedAt;
  const surplus = Math.min(devices.length + 1 - maxDevices, FORGOTTEN_AT_ONCE);
  return surplus <= 0 ? [] : devices.toSorted(isLater).slice(0, surplus);
}

/** The same positions, each after the gap that follows it, and with the gaps after it. */
export function withGaps(
  positions: Map<string, Position>,
  gapsByTopic: ReadonlyMap<string, readonly Span[]>,
): Map<string, Position> {
  for (const [topic, all] of gapsByTopic) {
    const position = positions.get(topic);
    if (position === undefined) continue;
    const { seq, gaps } = passGaps(position.seq, all);
    const unreadUpTo = position.unreadUpTo > seq ? position.unreadUpTo : 0;
    positions.set(topic, { seq, unreadUpTo, ...(gaps.length === 0 ? {} : { gaps }) });
  }
  return positions;
}
