/** F4 and F5: the disk fails, or is full, while messages are sent. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../../../support/random';
import { onTestEnd, temporaryDirectory } from '../../../support/temporary';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { runRound, type Stage } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { attach, WRITE_CALLS } from '../../strace';
import { pace } from '../../until';
import { Outsider, PATIENCE_MS, type Refusing } from './outsider';

const LOAD_MS = 4_000;

interface DiskFault extends Refusing {
  readonly name: string;
  /** Is `/readyz` 503 during the fault? */
  readonly isRed: boolean;
  begin(node: ChaosNode): Promise<Begun>;
}

interface Begun {
  /** Did it have an effect? */
  hasBitten(): boolean;
  end(): Promise<void>;
}

/** Calls on the data file fail; `bites`: a line of the trace that must be present. */
function failing(inject: string, bites: RegExp, dataFile: string): DiskFault['begin'] {
  return async (node) => {
    const tracing = await attach(node, ['-P', dataFile, '-e', `inject=${inject}`]);
    const hasBitten = () => tracing.lines().some((line) => line.includes('(INJECTED)') && bites.test(line));
    return { hasBitten, end: () => tracing.detach() };
  };
}

const EIO = { status: 503, code: 'store_unavailable' } as const;
const ENOSPC = { status: 507, code: 'store_full' } as const;
const TOTAL = { isTotal: true, isRed: true } as const;

async function runUnflushed(random: Random): Promise<Outcome> {
  const directory = temporaryDirectory();
  const file = join(directory, 'data.mdb');
  const begin = failing('fdatasync:error=EIO', /fdatasync/, file);
  return runRoundOn(directory, [{ name: 'flush', ...EIO, ...TOTAL, begin }], random);
}

async function runUnwritten(random: Random): Promise<Outcome> {
  const directory = temporaryDirectory();
  const file = join(directory, 'data.mdb');
  // Headers are 128 bytes: when that write fails, the engine has to be reopened. Pages are written by the same call, so
  // only one in seven fails: otherwise it would never reach the header.
  const inHeader = failing('pwrite64:error=EIO:when=7+7', /, 128, \d+\)/, file);
  const faults: DiskFault[] = [
    { name: 'write', ...EIO, ...TOTAL, begin: failing('writev,pwritev,pwrite64:error=EIO', /write/, file) },
    { name: 'header', ...EIO, isTotal: false, isRed: false, begin: inHeader },
  ];
  return runRoundOn(directory, faults, random);
}

async function runFull(random: Random): Promise<Outcome> {
  const disk = mountSmallDisk();
  const directory = join(disk ?? temporaryDirectory(), 'store');
  const injected = failing(`${WRITE_CALLS}:error=ENOSPC`, /write/, join(directory, 'data.mdb'));
  const begin = disk === undefined ? injected : () => Promise.resolve(fill(disk));
  const fault: DiskFault = { name: 'full', ...ENOSPC, ...TOTAL, begin };
  const outcome = await runRoundOn(directory, [fault], random);
  return { ...outcome, figures: { ...outcome.figures, disk: disk === undefined ? 'injected' : 'tmpfs' } };
}

const DISK_BYTES = 64 * 1024 * 1024;
const BLOCK_BYTES = 4_096;

/** A separate disk, if this user may have one. */
function mountSmallDisk(): string | undefined {
  const directory = temporaryDirectory();
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory]);
  if (status !== 0) return undefined;
  onTestEnd(() => void spawnSync('umount', ['--lazy', directory]));
  return directory;
}

/** Fills the rest of a disk. */
function fill(disk: string): Begun {
  const path = join(disk, 'filler');
  const file = openSync(path, 'w');
  let isFull = false;
  for (let size = 0; size < DISK_BYTES && !isFull; ) {
    try {
      size += writeSync(file, Buffer.alloc(BLOCK_BYTES));
    } catch (error) {
      isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    }
  }
  closeSync(file);
  const end = async () => rmSync(path);
  return { hasBitten: () => isFull, end };
}

/** One fault after the other, each examined from all sides; the load itself is checked with the round. */
async function runRoundOn(directory: string, faults: readonly DiskFault[], random: Random): Promise<Outcome> {
  mkdirSync(directory, { recursive: true });
  const node = await startOne({ env: { DATA_DIR: directory } });
  // LMDB may end the process when a write fails: see docs/decisions/0020-room-is-kept.md.
  node.tolerate('SIGABRT');
  let aborts = 0;
  const violations: string[] = [];
  const greta = new Outsider(node);
  await greta.prepare();
  const disturb = async (stage: Stage) => {
    for (const fault of faults) {
      await pace(random.integer(50, 300));
      const looking = disturbOnce(fault, node, { stage, greta }).catch((error: unknown) => [String(error)]);
      const found = await Promise.race([looking, node.ended()]);
      if (found === undefined) {
        aborts += 1;
        await node.startAgain();
        // The current examination has no meaning any more, and must end.
        await looking;
        break;
      }
      violations.push(...found.map((sentence) => `${fault.name}: ${sentence}`));
    }
    // What was reopened after a fault is as durable as before.
    await node.kill(0);
    violations.push(...(await greta.findUnkept()));
    greta.leave();
  };
  const outcome = await runRound({
    random,
    nodes: [node],
    loadMs: LOAD_MS,
    disturb,
  });
  return {
    ...outcome,
    violations: [...violations, ...outcome.violations],
    figures: { ...outcome.figures, faults: faults.length, aborts },
  };
}

async function disturbOnce(
  fault: DiskFault,
  node: ChaosNode,
  { stage, greta }: { stage: Stage; greta: Outsider },
): Promise<string[]> {
  const connections = () => stage.devices.reduce((sum, device) => sum + device.connections, 0);
  const before = connections();
  const { hasBitten, end } = await fault.begin(node);
  const violations = [
    ...(await greta.findAccepted(fault, hasBitten)),
    ...(fault.isRed ? await expectStatus(node, '/readyz', 503) : []),
    ...(await expectStatus(node, '/livez', 200)),
    ...(await greta.findUndelivered()),
  ];
  if (!hasBitten()) violations.push('nothing was tried');
  await end();
  violations.push(...(await greta.findRefused()), ...(await expectStatus(node, '/readyz', 200)));
  if (connections() !== before) violations.push('clients that were connected were cut');
  return violations;
}

async function expectStatus(node: ChaosNode, path: string, status: number): Promise<string[]> {
  const answer = await request(node.url + path, { timeoutMs: PATIENCE_MS });
  return answer?.status === status ? [] : [`${path} answered ${JSON.stringify(answer)}, and not ${status}`];
}

export const DISK: readonly Scenario[] = [
  {
    id: 'F4',
    fault: 'the disk fails to flush',
    injected: 'strace makes flushes fail with EIO, under load; then SIGKILL',
    expected:
      'sends are refused with 503, /readyz is 503, stored messages are delivered; recovers by itself, and nothing is lost',
    needs: ['strace'],
    run: runUnflushed,
  },
  {
    id: 'F4 (writes)',
    fault: 'the disk fails to write',
    injected: 'strace makes writes, then writes of the header, fail with EIO, under load; then SIGKILL',
    expected:
      'as F4, or LMDB ends the process (SIGABRT): after a restart it has everything it accepted, and nothing it refused',
    needs: ['strace'],
    tells: ['aborts'],
    run: runUnwritten,
  },
  {
    id: 'F5',
    fault: 'the disk is full',
    injected:
      'a small disk filled by another file (ENOSPC by strace where none can be mounted), under load; then SIGKILL',
    expected:
      'sends are refused with 507, /readyz is 503, stored messages are delivered; recovers when there is space, and nothing is lost',
    needs: ['strace'],
    tells: ['disk'],
    run: runFull,
  },
];
