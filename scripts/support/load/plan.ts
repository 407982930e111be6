/** What a load run does. */
export interface LoadPlan {
  readonly users: number;
  /** In total, spread over the users one after the other. */
  readonly connections: number;
  /** Messages to one user each, per second. */
  readonly rate: number;
  /** Messages to everyone, per second. */
  readonly broadcastRate: number;
  readonly seconds: number;
}

/** The user of a connection, both counted from 0. */
export function userIdOf(connection: number, { users }: LoadPlan): string {
  return `load-${(connection % users) + 1}`;
}

/** The device of a connection: each connection of a user has its own. */
export function deviceOf(connection: number, { users }: LoadPlan): string {
  return `load-${Math.floor(connection / users) + 1}`;
}
