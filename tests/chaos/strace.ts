/** strace on a running node: its calls are recorded, delayed, or fail. Needs no change of the node. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../support/needs';
import { run } from '../support/process';
import { temporaryDirectory } from '../support/temporary';
import type { ChaosNode } from './node';

const STRACE = findProgram('strace');
export const SYNC_CALLS = 'fdatasync,fsync,msync,sync_file_range';
export const WRITE_CALLS = 'write,writev,pwrite64,pwritev,pwritev2';

/** May strace attach to a process that it did not start, and make its calls fail? */
export const CAN_ATTACH = STRACE !== undefined && canAttach(STRACE);

function canAttach(program: string): boolean {
  const trial = spawnSync(program, ['-o', '/dev/null', '-e', 'inject=fdatasync:error=EIO', process.execPath, '-v']);
  return trial.status === 0 && (process.getuid?.() === 0 || attachScope() === 0);
}

/** Where Yama is active, only 0 lets a user attach to processes that are no children. */
function attachScope(): number {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8'));
  } catch {
    // No Yama, no such bound.
    return 0;
  }
}

export interface Tracing {
  /** The lines of the trace so far. */
  lines(): string[];
  /** Lets go of the node. */
  detach(): Promise<void>;
}

/** Attaches to all threads of a node. */
export async function attach({ process: { child } }: ChaosNode, args: readonly string[]): Promise<Tracing> {
  const file = join(temporaryDirectory(), 'trace');
  const tracer = run(STRACE ?? 'strace', ['-f', '-p', String(child.pid), '-o', file, ...args]);
  await tracer.line(/attached/);
  return {
    lines: () => readFileSync(file, 'utf8').split('\n'),
    detach: async () => {
      await tracer.end('SIGTERM');
    },
  };
}

/** How many calls of a trace failed on purpose, or were delayed. */
export function countInjected(trace: readonly string[]): number {
  return trace.filter((line) => line.includes('(INJECTED)') || line.includes('(DELAYED)')).length;
}

interface Call {
  readonly name: string;
  readonly descriptor: number;
  readonly path: string;
}

/** The content of a trace with paths (`-y`), in order: calls that began, and calls that ended (`isEnd`). */
export function* callsOf(trace: readonly string[]): Generator<{ call: Call; line: string; isEnd: boolean }> {
  const unfinished = new Map<string, Call>();
  for (const line of trace) {
    const [, thread = '', name = '', descriptor, path = ''] = /^(\d+) +(\w+)\((\d+)<([^>]*)>/.exec(line) ?? [];
    if (descriptor !== undefined) {
      const call = { name, descriptor: Number(descriptor), path };
      const isWhole = !line.includes('<unfinished ...>');
      if (!isWhole) unfinished.set(thread, call);
      yield { call, line, isEnd: false };
      if (isWhole) yield { call, line, isEnd: true };
    }
    const [, resumed = ''] = /^(\d+) +<\.\.\. \w+ resumed>/.exec(line) ?? [];
    const call = unfinished.get(resumed);
    if (call !== undefined) yield { call, line, isEnd: true };
    unfinished.delete(resumed);
  }
}
