import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

let microsPerTick: number | undefined;

/** Asked once, and only where processes are measured. */
function readMicrosPerTick(): number {
  microsPerTick ??= 1e6 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return microsPerTick;
}

/** Late writes, expiry and garbage collection are deferred: they belong to the requests that caused them. */
const PUT_OFF_WORK_MS = 1000;

const SAMPLING_INTERVAL_MS = 100;

/** CPU time that the process has used so far, all its threads, user and system. */
export function readCpuMicros(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // Counted after the command name, which may itself contain blanks and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * readMicrosPerTick();
}

export interface Memory {
  readonly rssKiB: number;
  /** Without mapped files: an embedded store's file counts in RSS although the kernel may drop its pages. */
  readonly anonymousKiB: number;
  /** Pages of mapped files, including those of programs and libraries. */
  readonly fileKiB: number;
}

/** The memory of the process now. */
export function readMemory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    rssKiB: readKiB(status, 'VmRSS'),
    anonymousKiB: readKiB(status, 'RssAnon'),
    fileKiB: readKiB(status, 'RssFile'),
  };
}

function readKiB(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
}

/** Runs `work` and returns the highest readings meanwhile. */
export async function watchPeakMemory(pid: number, work: () => Promise<unknown>): Promise<Memory> {
  let peak = readMemory(pid);
  const timer = setInterval(() => {
    const now = readMemory(pid);
    peak = {
      rssKiB: Math.max(peak.rssKiB, now.rssKiB),
      anonymousKiB: Math.max(peak.anonymousKiB, now.anonymousKiB),
      fileKiB: Math.max(peak.fileKiB, now.fileKiB),
    };
  }, SAMPLING_INTERVAL_MS);
  await work().finally(() => clearInterval(timer));
  return peak;
}

export interface Usage {
  /** CPU time of the server for the work, including what it deferred. */
  readonly cpuMicros: number;
  readonly elapsedMs: number;
  /** Share of one core that the clients used: near 1 the clients are the bottleneck, not the server. */
  readonly clientShare: number;
}

/** What work costs a server process. It may be done in parts, with other things in between. */
export class UsageMeter {
  readonly #cpuBefore: number;
  #elapsedMs = 0;
  #clientMicros = 0;

  constructor(private readonly pid: number) {
    this.#cpuBefore = readCpuMicros(pid);
  }

  /** Does a part of the work. */
  async during(work: () => Promise<void>): Promise<void> {
    const clientBefore = process.cpuUsage();
    const startedAt = performance.now();
    await work();
    this.#elapsedMs += performance.now() - startedAt;
    const { user, system } = process.cpuUsage(clientBefore);
    this.#clientMicros += user + system;
  }

  /** What the server did between the parts counts, too: deferred and background work. */
  async end(): Promise<Usage> {
    await delay(PUT_OFF_WORK_MS);
    const cpuMicros = readCpuMicros(this.pid) - this.#cpuBefore;
    return { cpuMicros, elapsedMs: this.#elapsedMs, clientShare: this.#clientMicros / 1000 / this.#elapsedMs };
  }
}

/** Runs `work` and returns what it cost the server process. */
export async function measureUsage(pid: number, work: () => Promise<void>): Promise<Usage> {
  const meter = new UsageMeter(pid);
  await meter.during(work);
  return meter.end();
}

/** May this process, and so each that it starts, open this many files? Sockets are files. */
export function canOpen(files: number): boolean {
  const limit = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  // If it is not a number, there is no limit.
  return limit === undefined || Number(limit) >= files;
}
