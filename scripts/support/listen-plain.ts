/** Listens at the plain endpoint: one WebSocket after the other, as long as another one makes sense. */
import WebSocket from 'ws';
import type { Problem } from '../../utils/errors';
import { explainEnding, explainHandshakeRefusal, explainProblem, explainStranger } from './explain';
import { type Frame, type Listen, type Listener, type ListenOptions, placeOf } from './listening';
import { explainNoConnection } from './requests';

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 5_000;
/** RFC 6455: the connection ended without one. */
const NO_CLOSE_FRAME = 1006;
const HANDSHAKE_TIMEOUT_MS = 10_000;

export const listenPlainly: Listen = (options) => new PlainListener(options);

class PlainListener implements Listener {
  #socket: WebSocket;
  #timer: NodeJS.Timeout | undefined;
  #hasBeenIn = false;
  #isLost = false;
  #isClosed = false;
  #delayMs = FIRST_DELAY_MS;

  constructor(private readonly options: ListenOptions) {
    this.#socket = this.#open();
  }

  refresh(token: string): void {
    send(this.#socket, { action: 'auth', token });
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#socket.close();
  }

  #open(): WebSocket {
    const { access, device } = this.options;
    const address = `${access.origin.replace(/^http/, 'ws')}/ws?device=${encodeURIComponent(device)}`;
    const socket = new WebSocket(address, {
      headers: { Authorization: `Bearer ${access.token()}` },
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    let last: Frame | undefined;
    socket.on('message', (data: Buffer) => {
      const frame = parseFrame(data);
      if (frame === undefined) {
        this.#end(explainStranger(access.origin, 'it sends unknown frames'));
        return;
      }
      last = frame;
      this.#take(frame, () => send(socket, { action: 'ack', ...placeOf(frame) }));
    });
    // `close` follows, and decides.
    socket.on('error', () => undefined);
    socket.on('close', (code, reason) => this.#ended(code, { reason: reason.toString('utf8'), last }));
    return socket;
  }

  #take(frame: Frame, acknowledge: () => void): void {
    if (frame.event === 'connected') {
      this.#hasBeenIn = true;
      this.#isLost = false;
      this.#delayMs = FIRST_DELAY_MS;
    }
    // Replies to acknowledgements are not shown; the reason of a refusal is reported at the end.
    const isForNobody = frame.event === 'error' || (frame.event === 'reply' && frame['ok'] === true);
    if (!isForNobody) this.options.onFrame(frame, acknowledge);
  }

  #ended(code: number, { reason, last }: { reason: string; last: Frame | undefined }): void {
    if (this.#isClosed) return;
    const ending = this.#explainEnd(last);
    if (ending !== undefined) this.#end(ending);
    else if (this.#hasBeenIn) this.#openLater();
    else void this.#giveUp(code, reason);
  }

  /** Why no other connection makes sense; `undefined` if one does. */
  #explainEnd(last: Frame | undefined): string | undefined {
    if (last?.event === 'error') return explainProblem(last as unknown as Problem, this.options.access);
    if (last?.event !== 'closing') return undefined;
    return last['retryInMs'] === null ? explainEnding(String(last['code']), String(last['reason'])) : undefined;
  }

  #end(reason: string): void {
    this.close();
    this.options.onEnd(reason);
  }

  async #giveUp(code: number, reason: string): Promise<void> {
    const { origin } = this.options.access;
    const wasRefused = code !== NO_CLOSE_FRAME && reason !== '';
    this.#end(wasRefused ? explainHandshakeRefusal(reason) : await explainNoConnection(origin));
  }

  #openLater(): void {
    if (!this.#isLost) this.options.onLost();
    this.#isLost = true;
    this.#timer = setTimeout(() => {
      this.#socket = this.#open();
    }, this.#delayMs);
    this.#delayMs = Math.min(this.#delayMs * 2, MAX_DELAY_MS);
  }
}

function parseFrame(data: Buffer): Frame | undefined {
  try {
    const frame = JSON.parse(data.toString('utf8')) as Partial<Frame> | null;
    return typeof frame?.event === 'string' ? (frame as Frame) : undefined;
  } catch {
    // Not JSON: not the service.
    return undefined;
  }
}

/** What can no longer be written is not needed: unacknowledged messages come again. */
function send(socket: WebSocket, frame: object): void {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
}
