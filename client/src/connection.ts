/**
 * The one connection to the service. socket.io-client restores a connection that breaks; when the service refuses or
 * closes one, this file decides: another token, another time, or the end.
 */
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import type { Address } from './address.ts';
import { fromProblem, messageOf, TidingsError } from './errors.ts';
import type { Closing, Reply } from './protocol.ts';
import { readWait, retryIn } from './retry.ts';
import { isClosing, isFrame, isProblem, isReply } from './shapes.ts';
import { jsonBytes } from './sizes.ts';
import { after, backoffMs, type Timer } from './timing.ts';
import type { Tokens } from './token.ts';
import type { Traffic } from './traffic.ts';
import { Transports } from './transports.ts';

/**
 * `connecting`: not there yet. `online`: connected. `offline`: lost, and being restored. `closed`: by `close()`, or
 * refused for good.
 */
export type Status = 'connecting' | 'online' | 'offline' | 'closed';

/** Passed to socket.io-client unchanged, except for reconnecting and authentication, which belong to this client. */
export type TransportOptions = Partial<Omit<ManagerOptions & SocketOptions, ClientOwned>>;
type ClientOwned = 'auth' | 'autoConnect' | 'forceNew' | 'path' | 'reconnection' | 'reconnectionAttempts' | 'retries';

export interface ConnectionParts {
  readonly address: Address;
  readonly tokens: Tokens;
  /** Reads what is kept for the user of this token. Called when the first token is there. */
  readonly prepare: (token: string) => Promise<void>;
  /** The name of this device, after `prepare`. */
  readonly device: () => string;
  readonly options: TransportOptions;
  readonly onFrame: (event: string, args: readonly unknown[]) => void;
  readonly onStatus: (status: Status) => void;
  readonly onError: (error: TidingsError) => void;
  readonly onTraffic: (traffic: Traffic) => void;
}

export class Connection {
  readonly #socket: Socket;
  /** Why it is closed, if not by `close()`. */
  error: TidingsError | undefined;
  #status: Status = 'connecting';
  readonly #transports: Transports;
  #timer: Timer | undefined;
  /** Runs during an attempt to connect. */
  #silenceTimer: Timer | undefined;
  /** The largest packet that the service takes; known once it has answered. */
  #maxPayload = Number.POSITIVE_INFINITY;
  /** Attempts since a connection last lasted. */
  #attempts = 0;
  /** Runs until a connection has lasted. */
  #lastingTimer: Timer | undefined;
  #isUnreachableReported = false;
  /** The token with which the service last refused the connection. */
  #refused: string | undefined;
  #isLogoutExpected = false;
  /** How a compatible service reports a refused token. */
  #hasAuthError = false;

  constructor(private readonly parts: ConnectionParts) {
    const { address, tokens, device, options } = parts;
    // Polling needs a proxy that always finds the same process; it is for networks that block WebSockets.
    this.#transports = new Transports(options.transports ?? ['websocket', 'polling']);
    this.#socket = io(address.origin, {
      tryAllTransports: true,
      reconnectionDelayMax: 10_000,
      ...options,
      transports: this.#transports.order,
      autoConnect: false,
      forceNew: true,
      path: `${address.path}/socket.io/`,
      auth: (answer) => answer({ token: tokens.known, device: device() }),
    });
    this.#socket.on('connect_error', (error) => this.#onConnectError(error));
    this.#socket.on('disconnect', (reason) => this.#onDisconnect(reason));
    this.#socket.onAny((event: string, ...args: unknown[]) => this.#onEvent(event, args));
    this.#socket.io.on('reconnect_attempt', () => this.#attempt());
  }

  get status(): Status {
    return this.#status;
  }

  /** Connects as soon as there is a token. */
  open(): void {
    void this.#connect(() => this.parts.tokens.current());
  }

  async #connect(getToken: () => Promise<string>): Promise<void> {
    try {
      await this.parts.prepare(await getToken());
      if (this.#status === 'closed') return;
      this.#attempt();
      this.#socket.connect();
    } catch (error) {
      this.#withoutToken(error);
    }
  }

  /** An attempt begins: to be called right before its connection is made. */
  #attempt(): void {
    const { io: manager } = this.#socket;
    manager.opts.transports = this.#transports.order;
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = after(this.#transports.patienceMs, () => this.#onSilence());
    queueMicrotask(() => {
      manager.engine?.once('handshake', ({ maxPayload }: { readonly maxPayload: unknown }) => {
        if (typeof maxPayload === 'number') this.#maxPayload = maxPayload;
      });
      manager.engine?.once('upgrade', () => this.#transports.upgraded());
    });
  }

  #attemptEnded(): void {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = undefined;
  }

  /**
   * A network may accept a connection and let nothing through, which nobody reports as an error: the next transport is
   * tried at once, and later all of them again.
   */
  #onSilence(): void {
    this.#attemptEnded();
    this.#socket.disconnect();
    if (this.#transports.next()) this.#connectIn(0);
    else {
      this.#onUnreachable(new Error('it accepts connections and does not answer'));
      this.#comeBack();
    }
  }

  #withoutToken(thrown: unknown): void {
    if (this.#status === 'closed') return;
    const error = asTidingsError(thrown);
    if (error.code === 'other_user' || !this.parts.tokens.isRenewable) this.end(error);
    else this.#retry(error);
  }

  /** Reports an error that may pass, and retries later. */
  #retry(error: TidingsError): void {
    this.parts.onError(error);
    this.#comeBack(Math.max(backoffMs(this.#attempts), retryIn(error, true) ?? 0));
  }

  /**
   * Retries when the service says, the first time: a client that is refused repeatedly, before a connection has lasted,
   * waits longer each time, whatever the service says.
   */
  #comeBack(saidMs?: number): void {
    const isFirst = this.#attempts === 0 && saidMs !== undefined;
    this.#connectIn(isFirst ? saidMs : Math.max(backoffMs(this.#attempts), saidMs ?? 0));
    this.#attempts += 1;
  }

  #connectIn(milliseconds: number): void {
    if (this.#status !== 'connecting') this.#setStatus('offline');
    clearTimeout(this.#timer);
    const { tokens } = this.parts;
    const getToken = () => (this.#refused === undefined ? tokens.current() : tokens.renew(this.#refused));
    this.#timer = after(milliseconds, () => {
      this.#timer = undefined;
      void this.#connect(getToken);
    });
  }

  /** The only entrance for what the service sends: past it, everything has the shape of the protocol. */
  #onEvent(event: string, args: readonly unknown[]): void {
    this.parts.onTraffic({ direction: 'received', event, args });
    if (!isFrame(event, args)) {
      const message = `${event}: it has not the shape that the service gives it, and was dropped.`;
      this.parts.onError(new TidingsError('unexpected_frame', message));
      return;
    }
    if (event === 'authenticated') this.#onAuthenticated();
    else if (event === 'auth:expiring') void this.#refresh();
    else if (event === 'closing' && isClosing(args[0])) this.#onClosing(args[0]);
    else if (event === 'error') this.#hasAuthError = !isProblem(args[0]);
    this.parts.onFrame(event, args);
  }

  #onAuthenticated(): void {
    this.#attemptEnded();
    clearTimeout(this.#lastingTimer);
    this.#lastingTimer = after(LASTING_MS, () => {
      this.#attempts = 0;
    });
    this.#isUnreachableReported = false;
    this.#refused = undefined;
    this.#setStatus('online');
  }

  async #refresh(): Promise<void> {
    const { tokens, onError } = this.parts;
    // The service closes the connection when the token expires; a token that cannot be renewed is used up then.
    if (!tokens.isRenewable) return;
    try {
      const token = await tokens.renew(tokens.known);
      if (this.#status !== 'online') return;
      const reply = await this.request<object>('auth:refresh', { token }, REFRESH_TIMEOUT_MS);
      if (!reply.ok) onError(fromProblem(reply.error));
    } catch (error) {
      // The connection continues until the token expires. Once it has ended, another token is requested anyway.
      if (this.#status === 'online') onError(asTidingsError(error));
    }
  }

  #onClosing({ code, reason, retryInMs }: Closing): void {
    this.#socket.disconnect();
    if (retryInMs !== null) this.#comeBack(readWait(retryInMs));
    else if (code === 'token_expired' || code === 'revoked') this.#onRefusal(new TidingsError(code, reason));
    else this.end(this.#isLogoutExpected && code === 'logged_out' ? undefined : new TidingsError(code, reason));
  }

  /** @throws TidingsError `other_user`, or the service's problem with the token. */
  async useToken(token: string): Promise<void> {
    const { tokens } = this.parts;
    tokens.assertSameUser(token);
    if (this.#status === 'online') {
      const take = ({ ok }: Reply<object>) => ok && tokens.replace(token);
      const reply = await this.request<object>('auth:refresh', { token }, REFRESH_TIMEOUT_MS, take);
      if (!reply.ok) throw fromProblem(reply.error);
    } else tokens.replace(token);
  }

  /** The service will close this connection because the client asked it to. */
  expectLogout(): void {
    this.#isLogoutExpected = true;
  }

  #onConnectError(error: Error & { data?: unknown }): void {
    this.#attemptEnded();
    if (isProblem(error.data)) this.#onRefusal(fromProblem(error.data));
    else if (this.#socket.active) this.#onUnreachable(error);
    else this.#retry(new TidingsError('unexpected_answer', error.message, { cause: error }));
  }

  /** Reported once for each outage; socket.io-client retries by itself. */
  #onUnreachable(cause: Error): void {
    this.#setStatus(this.#status === 'connecting' ? 'connecting' : 'offline');
    if (this.#isUnreachableReported) return;
    this.#isUnreachableReported = true;
    const message = `${this.parts.address.origin} cannot be reached (${cause.message}); trying again`;
    this.parts.onError(new TidingsError('unreachable', message, { cause }));
  }

  #onRefusal(error: TidingsError): void {
    if (TOKEN_ERRORS.has(error.code)) this.#onTokenRefused(error);
    else if (retryIn(error, true) !== undefined) this.#retry(error);
    else this.end(error);
  }

  /** A token function may return a better one at any time: it is asked at once the first time, later the others. */
  #onTokenRefused(error: TidingsError): void {
    const { tokens } = this.parts;
    const isFirst = this.#refused === undefined;
    this.#refused = tokens.known;
    if (!tokens.isRenewable) this.end(error);
    else if (isFirst) this.#comeBack(0);
    else this.#retry(error);
  }

  #onDisconnect(reason: Socket.DisconnectReason): void {
    if (this.#status === 'closed') return;
    this.#attemptEnded();
    clearTimeout(this.#lastingTimer);
    this.#setStatus('offline');
    if (reason !== 'io server disconnect') return;
    const error = new TidingsError('unauthorized', 'The service refused the token.');
    if (this.#hasAuthError) this.#onTokenRefused(error);
    else this.#comeBack();
    this.#hasAuthError = false;
  }

  /** Breaks the connection and restores it: unacknowledged messages come again. */
  restart(): void {
    if (this.#status !== 'online') return;
    this.#socket.disconnect();
    this.#connectIn(0);
  }

  /**
   * A hint that the network is back, or that somebody looks at the page: does not wait for the next attempt, and checks
   * a connection that may have died unnoticed.
   */
  wake(): void {
    if (this.#status === 'online') void this.#probe();
    // An attempt in progress has its own deadline, and so has a token function.
    else if (this.#status !== 'closed' && this.#silenceTimer === undefined && this.#isWaiting) {
      this.#socket.disconnect();
      this.#connectIn(0);
    }
  }

  /** Is nothing in progress except a pause, ours or that of socket.io-client? */
  get #isWaiting(): boolean {
    return this.#timer !== undefined || this.#socket.active;
  }

  async #probe(): Promise<void> {
    try {
      await this.request('ping', undefined, PROBE_TIMEOUT_MS);
    } catch {
      // Nothing came back: whatever the reason, another connection is better. One that is being made stays.
      this.restart();
    }
  }

  /** Sends without expecting an answer. Without a connection, it is dropped. */
  notify(event: string, payload: object): void {
    // A refusal would come as an event `error` if nobody waited for it, and nothing sent like this needs one.
    if (this.#status !== 'online') return;
    this.#socket.emit(event, payload, ignoreAnswer);
    this.parts.onTraffic({ direction: 'sent', event, args: [payload] });
  }

  /**
   * @param take gets the reply before anything that the service sent after it. When the promise resolves, such frames
   * may have been handled already.
   * @throws TidingsError `connection_lost`, `timeout`, `unexpected_answer`: then it may have been done or not;
   * `body_too_large`: the service would cut the connection.
   */
  async request<Answer>(
    event: string,
    payload: object | undefined,
    timeoutMs: number,
    take: (reply: Reply<Answer>) => void = ignoreAnswer,
  ): Promise<Reply<Answer>> {
    const args = payload === undefined ? [] : [payload];
    this.#assertSize(event, args);
    const answer = await this.#ask(event, args, timeoutMs, (reply) => {
      if (isReply<Answer>(reply)) take(reply);
    });
    if (isReply<Answer>(answer)) return answer;
    throw new TidingsError('unexpected_answer', `${event} was answered, and not as the service answers.`);
  }

  async #ask(
    event: string,
    args: readonly object[],
    timeoutMs: number,
    take: (reply: unknown) => void,
  ): Promise<unknown> {
    const startedAt = performance.now();
    const report = (result: { reply: unknown } | { error: TidingsError }) => {
      const outcome = { ms: performance.now() - startedAt, ...result };
      this.parts.onTraffic({ direction: 'sent', event, args, outcome });
    };
    try {
      return await new Promise((resolve, reject) => {
        this.#socket.timeout(timeoutMs).emit(event, ...args, (lost: Error | null, reply: unknown) => {
          if (lost !== null) return reject(lost);
          report({ reply });
          take(reply);
          resolve(reply);
        });
      });
    } catch (thrown) {
      const error = this.#unanswered(event, thrown);
      report({ error });
      throw error;
    }
  }

  #unanswered(event: string, cause: unknown): TidingsError {
    if (this.#status === 'online') return new TidingsError('timeout', `There was no answer to ${event}.`);
    return new TidingsError('connection_lost', `The connection ended before ${event} was answered.`, { cause });
  }

  #assertSize(event: string, args: readonly object[]): void {
    const bytes = jsonBytes([event, ...args]) + PACKET_OVERHEAD_BYTES;
    if (bytes <= this.#maxPayload) return;
    const message = `${event}: ${bytes} bytes are more than the ${this.#maxPayload} that the service takes at once.`;
    throw new TidingsError('body_too_large', message);
  }

  /** Closes it for good. Nothing of it is left running. */
  end(error?: TidingsError): void {
    if (this.#status === 'closed') return;
    clearTimeout(this.#timer);
    clearTimeout(this.#lastingTimer);
    this.#attemptEnded();
    this.parts.tokens.close();
    this.error = error;
    this.#setStatus('closed');
    this.#socket.disconnect();
    if (error !== undefined) this.parts.onError(error);
  }

  #setStatus(status: Status): void {
    if (this.#status === status || this.#status === 'closed') return;
    this.#status = status;
    this.parts.onStatus(status);
  }
}

const REFRESH_TIMEOUT_MS = 10_000;
/** A connection that has lasted this long ends a series of refusals. As long as the longest pause. */
const LASTING_MS = 30_000;
const TOKEN_ERRORS: ReadonlySet<string> = new Set(['token_expired', 'unauthorized', 'revoked', 'token_revoked']);
const PROBE_TIMEOUT_MS = 5_000;
/** The types of the packet, the number of its answer, and the mask and length of its frame. */
const PACKET_OVERHEAD_BYTES = 32;

function asTidingsError(thrown: unknown): TidingsError {
  return thrown instanceof TidingsError ? thrown : new TidingsError('token_failed', messageOf(thrown));
}

function ignoreAnswer(): void {
  // See notify().
}
