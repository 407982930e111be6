/** How much of what a run has. */
export interface SoakPlan {
  readonly minutes: number;
  /** Requests per second; most of them send. */
  readonly rate: number;
  /** Half of them stay connected, half come and go. */
  readonly users: number;
}

/** The service gives a silent client up soon, so that a run has many of them. */
export const PING_INTERVAL_MS = 5_000;
export const PING_TIMEOUT_MS = 5_000;

export const ROOMS = ['room-0', 'room-1', 'room-2', 'room-3', 'room-4'] as const;

/** The users whose messages are counted. */
export function userIdsOf({ users }: Pick<SoakPlan, 'users'>): string[] {
  return Array.from({ length: users }, (_value, index) => `soak-${index}`);
}

/** The rooms that a user is in: each in one. */
export function membersOf(room: string, plan: Pick<SoakPlan, 'users'>): string[] {
  return userIdsOf(plan).filter((_userId, index) => ROOMS[index % ROOMS.length] === room);
}
