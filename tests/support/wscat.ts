/** wscat itself, as a person at a terminal runs it: a command line, lines typed, lines read. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Reply } from '../../utils/protocol';
import type { Frame } from './plain-client';
import { onTestEnd } from './temporary';

const PATIENCE_MS = 30_000;
const PROGRAMS = join(__dirname, '../../node_modules/.bin');
/** What wscat prints after each line that was typed, before the next line that arrives. */
const PROMPTS = /^(> )+/;

export class Wscat {
  /** Every line so far, complaints included. */
  readonly lines: string[] = [];
  /** Every frame that was printed. */
  readonly received: Frame[] = [];
  /** Resolves to the exit code when wscat has ended, as it does when the connection is closed. */
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #unread: Frame[] = [];
  readonly #waiting = new Set<() => void>();
  #isEnded = false;

  /** @param command a command line from a document, run by a shell. */
  constructor(command: string) {
    const path = [PROGRAMS, process.env['PATH'] ?? ''].join(delimiter);
    const child = spawn('sh', ['-c', `exec ${command}`], { env: { ...process.env, PATH: path }, stdio: 'pipe' });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => this.#take(line.replace(PROMPTS, '')));
    createInterface({ input: child.stderr }).on('line', (line) => this.lines.push(line));
    // Lines typed after the end are lost, as at a terminal.
    child.stdin.on('error', () => undefined);
    const closed = once(child, 'close') as Promise<[number | null]>;
    this.ended = closed.then(([code]) => {
      this.#isEnded = true;
      this.#wake();
      return code;
    });
    onTestEnd(async () => {
      child.kill('SIGKILL');
      await this.ended;
    });
  }

  #take(line: string): void {
    if (line === '') return;
    this.lines.push(line);
    const frame = JSON.parse(line) as Frame;
    this.received.push(frame);
    this.#unread.push(frame);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Types a line; an object is typed as JSON. */
  type(line: string | object): void {
    this.#child.stdin?.write(`${typeof line === 'string' ? line : JSON.stringify(line)}\n`);
  }

  /** Types a line, and resolves to the next reply without the name of the event. */
  async reply(line: string | object): Promise<Reply> {
    this.type(line);
    const { event: _name, ...reply } = await this.next('reply');
    return reply as unknown as Reply;
  }

  /** Every `message` so far. */
  get messages(): Frame[] {
    return this.received.filter(({ event }) => event === 'message');
  }

  /** The next frame of this event that is printed, past or to come. */
  next(event: string): Promise<Frame> {
    const look = () => {
      const index = this.#unread.findIndex((frame) => frame.event === event);
      return index < 0 ? undefined : this.#unread.splice(index, 1)[0];
    };
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        settle();
      };
      const fail = (when: string) =>
        finish(() => reject(new Error(`no \`${event}\` ${when}; printed:\n${this.lines.join('\n') || 'nothing'}`)));
      const timer = setTimeout(() => fail(`within ${PATIENCE_MS} ms`), PATIENCE_MS);
      const wake = () => {
        const found = look();
        if (found !== undefined) finish(() => resolve(found));
        else if (this.#isEnded) fail('before the end');
      };
      this.#waiting.add(wake);
      wake();
    });
  }

  /** Ctrl-C. */
  interrupt(): void {
    this.#child.kill('SIGINT');
  }
}
