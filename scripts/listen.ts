/**
 * Shows what a user gets, as it comes.
 *   npm run listen -- --sub user123
 */
import { hostname } from 'node:os';
import { deviceSchema } from '../utils/schemas';
import { type Access, readAccess } from './support/access';
import { COMMON_OPTIONS, readArguments, readCount } from './support/arguments';
import { listenPlainly } from './support/listen-plain';
import { listenBySocketIo } from './support/listen-socketio';
import { type Frame, type Listen, type Listener, placeOf } from './support/listening';
import { isMessage, noticeOf, renderFrame } from './support/render-frame';
import { type Command, Failure, runHere, type Terminal, UsageError } from './support/terminal';
import { type Paint, painterFor, printableJson } from './support/text';

const USAGE = `Shows what a user gets, as it comes: what waits, then what is sent. Ctrl-C ends.

Usage:
  npm run listen -- --sub USER

  --sub USER      whose messages
  --device NAME   the device; what it has printed does not come again. One of this machine when not given
  --count N       end after N messages
  --plain         by the plain WebSocket endpoint instead of Socket.IO
  --json          each event as a line of JSON

Service:
  --url URL       http://localhost:PORT when not given
  --token TOKEN   instead of --sub: else TIDINGS_TOKEN, else one made here
`;

const OPTIONS = {
  ...COMMON_OPTIONS,
  sub: { type: 'string' },
  device: { type: 'string' },
  count: { type: 'string' },
  plain: { type: 'boolean', default: false },
} as const;

type Given = ReturnType<typeof readArguments<typeof OPTIONS>>;

const MAX_COUNT = 1_000_000;
const MAX_DEVICE_LENGTH = 128;

export const listen: Command = async (args, terminal) => {
  const given = readArguments(args, OPTIONS);
  if (given.help) {
    terminal.stdout.write(USAGE);
    return 0;
  }
  const screen = new Screen({
    terminal,
    access: readAccess(given, terminal.env, {}),
    device: readDevice(given),
    maxCount: readMaxCount(given),
    isJson: given.json,
  });
  await screen.show(given.plain ? listenPlainly : listenBySocketIo);
  return 0;
};

function readMaxCount({ count }: Given): number {
  return count === undefined
    ? Number.POSITIVE_INFINITY
    : readCount('--count', count, { minimum: 1, maximum: MAX_COUNT });
}

/** The same on every run: it has its own place in the log. */
function readDevice({ device = `terminal-${hostname()}`.slice(0, MAX_DEVICE_LENGTH) }: Given): string {
  const parsed = deviceSchema.safeParse(device);
  if (!parsed.success) throw new UsageError(`--device ${parsed.error.issues[0]?.message}.`);
  return device;
}

interface ScreenOptions {
  readonly terminal: Terminal;
  readonly access: Access;
  readonly device: string;
  readonly maxCount: number;
  readonly isJson: boolean;
}

/** Prints what comes, once, and acknowledges what is printed. What happens to the connection goes to standard error. */
class Screen {
  /** Per topic the last `seq` that was printed: what comes again after a break is not. */
  readonly #printed = new Map<string, number>();
  readonly #done: Promise<void>;
  #settle: { resolve(): void; reject(error: Error): void } = { resolve: () => undefined, reject: () => undefined };
  #listener: Listener | undefined;
  #count = 0;
  #isDone = false;
  readonly #paint: Paint;

  constructor(private readonly options: ScreenOptions) {
    this.#paint = painterFor(options.terminal.stdout, options.terminal.env);
    this.#done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  /**
   * Resolves when it was interrupted, has shown as many messages as wanted, or nobody reads the output any more.
   * @throws Failure when no connection makes sense any more.
   */
  async show(listen: Listen): Promise<void> {
    const { access, device, terminal } = this.options;
    const finish = () => this.#finish();
    terminal.interrupted.addEventListener('abort', finish, { once: true });
    terminal.stdout.on('error', (fault: NodeJS.ErrnoException) => {
      this.#finish(fault.code === 'EPIPE' ? undefined : fault);
    });
    this.#listener = listen({
      access,
      device,
      onFrame: (frame, acknowledge) => this.#take(frame, acknowledge),
      onLost: () => this.#notify('The connection is lost: connecting again.'),
      onEnd: (reason) => this.#finish(new Failure(reason)),
    });
    await this.#done;
  }

  #finish(fault?: Error): void {
    this.#isDone = true;
    this.#listener?.close();
    if (fault === undefined) this.#settle.resolve();
    else this.#settle.reject(fault);
  }

  #notify(notice: string): void {
    this.options.terminal.stderr.write(`${notice}\n`);
  }

  #take(frame: Frame, acknowledge: () => void): void {
    if (this.#isDone || this.#count === this.options.maxCount) return;
    if (frame.event === 'auth:expiring' && this.options.access.isTokenLocal) {
      this.#listener?.refresh(this.options.access.token());
      return;
    }
    const notice = noticeOf(frame);
    if (notice) this.#notify(notice);
    if (this.#isKnown(frame)) acknowledge();
    else if (this.options.isJson || notice === undefined) this.#print(frame, acknowledge);
  }

  #isKnown(frame: Frame): boolean {
    const place = placeOf(frame);
    if (place === undefined) return false;
    if (place.seq <= (this.#printed.get(place.topic) ?? 0)) return true;
    this.#printed.set(place.topic, place.seq);
    return false;
  }

  #print(frame: Frame, acknowledge: () => void): void {
    if (isMessage(frame)) this.#count += 1;
    const isLast = this.#count === this.options.maxCount;
    // Acknowledged is what has been handed over: what is not comes again on the next run.
    this.options.terminal.stdout.write(
      `${this.options.isJson ? printableJson(frame) : renderFrame(frame, this.#paint)}\n`,
      () => {
        if (placeOf(frame) !== undefined) acknowledge();
        if (isLast) this.#finish();
      },
    );
  }
}

if (require.main === module) void runHere(listen);
