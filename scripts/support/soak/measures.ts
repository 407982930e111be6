/** What is read from the service at each sample, and how much growth of it is a fault. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readMemory } from '../../../bench/support/process-stats';
import { storePath } from '../../../bench/support/server-kinds';
import type { RunningServer } from '../../../bench/support/servers';
import { exchange } from '../requests';
import type { Tolerance } from './trend';

const MIB = 1024 * 1024;

interface Measure {
  readonly title: string;
  /** Absent if it is meant to grow, or says nothing by itself. */
  readonly tolerance?: Tolerance;
  /** When everybody has left, it must be what it was before the load, or at most this much more. */
  readonly returnsWithin?: number;
}

export const MEASURES = {
  heapMiB: { title: 'heap after collection, MiB', tolerance: { perHour: 4, inAll: 2 } },
  externalMiB: { title: 'outside the heap after collection, MiB', tolerance: { perHour: 4, inAll: 2 } },
  anonymousMiB: { title: 'RssAnon, MiB', tolerance: { perHour: 24, inAll: 12 } },
  descriptors: { title: 'open descriptors', tolerance: { perHour: 20, inAll: 20 }, returnsWithin: 0 },
  timers: { title: 'timers', tolerance: { perHour: 60, inAll: 30 }, returnsWithin: 0 },
  // Node has some of its own that come and go, such as the one for the header Date.
  allTimers: { title: 'timers, also those that keep nothing alive', returnsWithin: 2 },
  handles: { title: 'handles of the event loop', tolerance: { perHour: 20, inAll: 20 }, returnsWithin: 0 },
  connections: { title: 'connections', tolerance: { perHour: 20, inAll: 10 }, returnsWithin: 0 },
  usersConnected: { title: 'users connected', tolerance: { perHour: 20, inAll: 10 }, returnsWithin: 0 },
  catchUps: { title: 'connections in catch-up', tolerance: { perHour: 20, inAll: 10 }, returnsWithin: 0 },
  unwrittenCursors: { title: 'cursors not written yet', tolerance: { perHour: 400, inAll: 200 }, returnsWithin: 0 },
  queuedWrites: { title: 'writes that wait', tolerance: { perHour: 100, inAll: 50 }, returnsWithin: 0 },
  // Other programs on the machine hold it up as well.
  loopP99Ms: { title: 'event loop late by, p99, ms' },
  fileMiB: { title: 'RssFile, MiB (pages of the store)' },
  storeMiB: { title: 'store on disk, MiB' },
} as const satisfies Record<string, Measure>;

export type MeasureName = keyof typeof MEASURES;
export const MEASURE_NAMES = Object.keys(MEASURES) as MeasureName[];

export type Reading = Readonly<Record<MeasureName, number>>;

export function measureOf(name: MeasureName): Measure {
  return MEASURES[name];
}

/** What should have returned to its value before the load, and has not. */
export function findKept(before: Reading, now: Reading): MeasureName[] {
  return MEASURE_NAMES.filter((name) => {
    const { returnsWithin = Number.POSITIVE_INFINITY } = measureOf(name);
    return now[name] > before[name] + returnsWithin;
  });
}

/**
 * Reads everything once; memory after a full collection. All timers only if it is thorough, because that takes long.
 */
export async function readAll(
  server: RunningServer,
  { directory, isThorough }: { directory: string; isThorough: boolean },
): Promise<Reading> {
  const metrics = await scrape(server.port);
  const { heapUsed, external, timers, allTimers = Number.NaN, handles } = await server.inspect({ isThorough });
  const { anonymousKiB, fileKiB } = readMemory(server.pid);
  return {
    heapMiB: heapUsed / MIB,
    externalMiB: external / MIB,
    anonymousMiB: anonymousKiB / 1024,
    fileMiB: fileKiB / 1024,
    descriptors: readdirSync(`/proc/${server.pid}/fd`).length,
    timers,
    allTimers,
    handles,
    connections: metrics('tidings_connections'),
    usersConnected: metrics('tidings_users_connected'),
    catchUps: metrics('tidings_catch_ups_running'),
    unwrittenCursors: metrics('tidings_cursors_unwritten'),
    queuedWrites: metrics('tidings_store_queued_writes'),
    loopP99Ms: metrics('nodejs_eventloop_lag_p99_seconds') * 1_000,
    storeMiB: statSync(join(storePath(directory), 'data.mdb')).size / MIB,
  };
}

/** Looks up metrics; those with labels are added up. */
async function scrape(port: number): Promise<(name: string) => number> {
  const { text } = await exchange(`http://127.0.0.1:${port}`, { method: 'GET', path: '/metrics' });
  return (name) => {
    const values = Array.from(
      text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm')),
      ([, value]) => value,
    );
    if (values.length === 0) throw new Error(`/metrics has no ${name}`);
    return values.reduce((sum, value) => sum + Number(value), 0);
  };
}
