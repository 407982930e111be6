/** Runs a command in this process, as at a terminal: with what it reads, and keeping what it writes. */
import { Readable, Writable } from 'node:stream';
import { WriteStream } from 'node:tty';
import { type Command, type Output, runCommand } from '../../scripts/support/terminal';
import { TEST_SECRET } from '../support/service';
import { onTestEnd } from '../support/temporary';

const PATIENCE_MS = 30_000;

export interface Surroundings {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Is the output a terminal? */
  readonly isTTY?: boolean;
  /** Has the reader of the output gone? */
  readonly isClosed?: boolean;
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly finished: Promise<Finished>;
  /** Resolves to the first line of either output, past or to come, that matches. */
  line(pattern: RegExp): Promise<string>;
  /** Every whole line of standard output so far. */
  readonly lines: readonly string[];
  /** Ctrl-C. */
  interrupt(): void;
}

/** Starts a command; it is interrupted after the test if it still runs. */
export function startCommand(command: Command, args: readonly string[], around: Surroundings = {}): RunningCommand {
  const { env = {}, stdin = '', isTTY = false, isClosed = false } = around;
  const interruption = new AbortController();
  const [stdout, stderr] = [new CapturedOutput(isTTY, isClosed), new CapturedOutput(isTTY)];
  const code = runCommand(command, args, {
    env: { JWT_SECRET: TEST_SECRET, ...env },
    stdin: Readable.from([Buffer.from(stdin)]),
    stdout: stdout as unknown as Output,
    stderr: stderr as unknown as Output,
    interrupted: interruption.signal,
  });
  const finished = code.then((exitCode) => ({ code: exitCode, stdout: stdout.text, stderr: stderr.text }));
  onTestEnd(async () => {
    interruption.abort();
    await finished;
  });
  const whole = () => `${stdout.text}${stderr.text}`;
  return {
    finished,
    get lines() {
      return stdout.text.split('\n').slice(0, -1);
    },
    interrupt: () => interruption.abort(),
    line: (pattern) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no ${pattern} in:\n${whole()}`)), PATIENCE_MS);
        const look = () => {
          const found = [...stdout.text.split('\n'), ...stderr.text.split('\n')].find((line) => pattern.test(line));
          if (found === undefined) return;
          clearTimeout(timer);
          resolve(found);
        };
        for (const output of [stdout, stderr]) output.on('text', look);
        look();
      }),
  };
}

/** Runs a command to its end. */
export function runToEnd(command: Command, args: readonly string[], around: Surroundings = {}): Promise<Finished> {
  return startCommand(command, args, around).finished;
}

class CapturedOutput extends Writable {
  text = '';
  // What a terminal of this kind would say, by the rules of Node.
  readonly hasColors = WriteStream.prototype.hasColors;
  readonly getColorDepth = WriteStream.prototype.getColorDepth;

  constructor(
    readonly isTTY: boolean,
    private readonly isClosed = false,
  ) {
    super({ decodeStrings: false });
  }

  override _write(chunk: string | Buffer, _encoding: string, done: (fault?: Error) => void): void {
    if (this.isClosed) {
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      return;
    }
    this.text += String(chunk);
    done();
    this.emit('text');
  }
}
