/** The amounts of a run. */
export interface SoakPlan {
  readonly minutes: number;
  /** Requests per second; most of them send. */
  readonly rate: number;
  /** Half of them stay connected, half come and go. */
  readonly users: number;
}

/** Interval of heartbeats, and how long one may stay unanswered: short, so that a run has many silent clients. */
export function heartbeatMs({ minutes }: Pick<SoakPlan, 'minutes'>): number {
  return Math.min(10_000, Math.max(1_000, Math.round(minutes * 3_000)));
}

export const ROOMS = ['room-0', 'room-1', 'room-2', 'room-3', 'room-4'] as const;

/** The users whose messages are counted. */
export function userIdsOf({ users }: Pick<SoakPlan, 'users'>): string[] {
  return Array.from({ length: users }, (_value, index) => `soak-${index}`);
}

/** The rooms of a user: each user is in one. */
export function membersOf(room: string, plan: Pick<SoakPlan, 'users'>): string[] {
  return userIdsOf(plan).filter((_userId, index) => ROOMS[index % ROOMS.length] === room);
}
