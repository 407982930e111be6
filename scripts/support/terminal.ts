/** How a command runs and ends: one sentence and an exit code, never a stack for a mistake. */
import { EXIT_USAGE, UsageError } from '../../utils/command-line';
import { ConfigError } from '../../utils/config';

/** It was tried, and it failed. */
export class Failure extends Error {}

const EXIT_FAILURE = 1;

/** A stream to write to; colours are used only if it is a terminal. */
export type Output = NodeJS.WritableStream & {
  readonly isTTY?: boolean;
  hasColors?(count: number, env: object): boolean;
};

/** The environment of a command: that of the process, or one given by a test. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Buffer | string>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted by Ctrl-C, or by SIGTERM. */
  readonly interrupted: AbortSignal;
}

/** @returns the exit code. */
export type Command = (args: readonly string[], terminal: Terminal) => Promise<number>;

/** Runs a command. Expected errors become a sentence on standard error; a fault of the command itself is thrown. */
export async function runCommand(command: Command, args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    return await command(args, terminal);
  } catch (error) {
    const exitCode = exitCodeOf(error);
    if (exitCode === undefined) throw error;
    terminal.stderr.write(`${(error as Error).message}\n`);
    return exitCode;
  }
}

function exitCodeOf(error: unknown): number | undefined {
  if (error instanceof UsageError || error instanceof ConfigError) return EXIT_USAGE;
  return error instanceof Failure ? EXIT_FAILURE : undefined;
}

/** What is not closed after this time is left: nobody waits for a service that does not answer. */
const LEAVE_AFTER_MS = 2_000;

/** Runs a command in the terminal of this process. A second Ctrl-C ends it at once. */
export async function runHere(command: Command): Promise<void> {
  const { env, stdin, stdout, stderr } = process;
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interruption.abort());
  for (const output of [stdout, stderr]) output.on('error', throwUnlessClosed);
  const terminal = { env, stdin, stdout, stderr, interrupted: interruption.signal };
  process.exitCode = await runCommand(command, process.argv.slice(2), terminal);
  setTimeout(() => process.exit(), LEAVE_AFTER_MS).unref();
}

/** A reader who has enough closes the pipe: later writes are for nobody, and no fault. */
function throwUnlessClosed(fault: NodeJS.ErrnoException): void {
  if (fault.code !== 'EPIPE') throw fault;
}
