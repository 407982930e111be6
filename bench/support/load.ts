import { setTimeout as delay } from 'node:timers/promises';
import type { HttpConnection } from './http-connection';

/** One sender with its own connection. It sends to its own user, one message at a time, so that order is defined. */
export interface Lane {
  readonly index: number;
  readonly connection: HttpConnection;
}

type Send = (lane: Lane, dueAt: number) => Promise<void>;

/** Numbers the connections as lanes. */
export function createLanes(connections: readonly HttpConnection[]): Lane[] {
  return connections.map((connection, index) => ({ index, connection }));
}

/** Closed loop: every lane sends its next message as soon as the previous one is answered, `count` in total. */
export async function sendAsFastAsAnswered(lanes: readonly Lane[], count: number, send: Send): Promise<void> {
  let left = count;
  const drain = async (lane: Lane) => {
    while (left > 0) {
      left -= 1;
      await send(lane, performance.now());
    }
  };
  await Promise.all(lanes.map(drain));
}

export interface Rate {
  readonly perSecond: number;
  readonly count: number;
  /** Ends it before all of the count is sent. */
  readonly signal?: AbortSignal;
}

/**
 * Open loop: messages are due at fixed times, whatever the server does. The latency of one that is late because its
 * lane is still busy counts from when it was due: otherwise a stalled server would hide its stall.
 */
export async function sendAtRate(lanes: readonly Lane[], rate: Rate, send: Send): Promise<void> {
  const { perSecond, count, signal } = rate;
  const startedAt = performance.now();
  const tails = lanes.map(() => Promise.resolve());
  for (let i = 0; i < count && signal?.aborted !== true; i += 1) {
    const dueAt = startedAt + (i * 1000) / perSecond;
    await waitUntil(dueAt);
    const lane = lanes[i % lanes.length] as Lane;
    tails[lane.index] = (tails[lane.index] ?? Promise.resolve()).then(() => send(lane, dueAt));
  }
  await Promise.all(tails);
}

async function waitUntil(time: number): Promise<void> {
  const left = time - performance.now();
  if (left > 0) await delay(Math.ceil(left));
}
