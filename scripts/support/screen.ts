/**
 * Prints what arrives, once, and acknowledges what is printed. What happens to the connection goes to standard error.
 */
import type { Access } from './access';
import { type Frame, type Listen, type Listener, placeOf } from './listening';
import { isMessage, noticeOf, renderFrame } from './render-frame';
import { Failure, type Terminal } from './terminal';
import { type Paint, painterFor, printableJson } from './text';

export interface ScreenOptions {
  readonly terminal: Terminal;
  readonly access: Access;
  readonly device: string;
  readonly maxCount: number;
  readonly isJson: boolean;
}

export class Screen {
  /** Per topic the last `seq` that was printed: what comes again after a break is not printed twice. */
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
   * Resolves when it was interrupted, has printed as many messages as wanted, or nobody reads the output any more.
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
      onLost: () => this.#notify('Connection lost, reconnecting.'),
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
    // After what is still being written, so that it is acknowledged with that.
    if (this.#isKnown(frame)) this.#write('', acknowledge);
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
    const line = this.options.isJson ? printableJson(frame) : renderFrame(frame, this.#paint);
    this.#write(`${line}\n`, () => {
      if (placeOf(frame) !== undefined) acknowledge();
      if (isLast) this.#finish();
    });
  }

  /** What was handed over is acknowledged; what nobody reads any more comes again on the next run. */
  #write(text: string, done: () => void): void {
    this.options.terminal.stdout.write(text, (fault) => {
      if (!fault) done();
    });
  }
}
