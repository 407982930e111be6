/**
 * The one connection to the service. A connection that breaks is restored by socket.io-client; one that the service
 * refuses or closes is decided on here: another token, another time, or the end.
 */
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import type { Address } from './address.ts';
import { fromProblem, isProblem, messageOf, TidingsError } from './errors.ts';
import type { Closing, Reply } from './protocol.ts';
import { retryIn } from './retry.ts';
import { backoffMs } from './timing.ts';
import type { Tokens } from './token.ts';

/**
 * `connecting`: not there yet. `online`: connected. `offline`: lost, and being restored. `closed`: by `close()`, or
 * refused for good.
 */
export type Status = 'connecting' | 'online' | 'offline' | 'closed';

/** What goes to socket.io-client as it is. Reconnecting and authentication are the client's own. */
export type TransportOptions = Partial<Omit<ManagerOptions & SocketOptions, ClientOwned>>;
type ClientOwned = 'auth' | 'autoConnect' | 'forceNew' | 'path' | 'reconnection' | 'reconnectionAttempts' | 'retries';

export interface ConnectionParts {
  readonly address: Address;
  readonly tokens: Tokens;
  /** Reads what is kept for the user of this token. Done when the first token is there. */
  readonly prepare: (token: string) => Promise<void>;
  /** The name of this device, after `prepare`. */
  readonly device: () => string;
  readonly options: TransportOptions;
  readonly onFrame: (event: string, args: readonly unknown[]) => void;
  readonly onStatus: (status: Status) => void;
  readonly onError: (error: TidingsError) => void;
}

export class Connection {
  readonly #socket: Socket;
  /** Why it is closed, when it was not by `close()`. */
  error: TidingsError | undefined;
  #status: Status = 'connecting';
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Attempts since the service last let us in. */
  #attempts = 0;
  #isUnreachableTold = false;
  /** With which token the service has refused us last. */
  #refused: string | undefined;
  #isLogoutExpected = false;
  /** An ancestor's way of saying that the token is refused. */
  #hasAuthError = false;

  constructor(private readonly parts: ConnectionParts) {
    const { address, tokens, device, options } = parts;
    this.#socket = io(address.origin, {
      // Polling needs a proxy that always finds the same process; it is for networks that let no WebSocket through.
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      reconnectionDelayMax: 10_000,
      ...options,
      autoConnect: false,
      forceNew: true,
      path: `${address.path}/socket.io/`,
      auth: (answer) => answer({ token: tokens.known, device: device() }),
    });
    this.#socket.on('connect_error', (error) => this.#onConnectError(error));
    this.#socket.on('disconnect', (reason) => this.#onDisconnect(reason));
    this.#socket.onAny((event: string, ...args: unknown[]) => this.#onEvent(event, args));
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
      if (this.#status !== 'closed') this.#socket.connect();
    } catch (error) {
      this.#withoutToken(error);
    }
  }

  #withoutToken(thrown: unknown): void {
    if (this.#status === 'closed') return;
    const error = asTidingsError(thrown);
    if (error.code === 'other_user' || !this.parts.tokens.isRenewable) this.end(error);
    else this.#retry(error);
  }

  /** Tells of an error that may pass, and tries again later. */
  #retry(error: TidingsError): void {
    this.parts.onError(error);
    this.#connectIn(Math.max(backoffMs(this.#attempts), retryIn(error, true) ?? 0));
    this.#attempts += 1;
  }

  #connectIn(milliseconds: number): void {
    this.#setStatus('offline');
    clearTimeout(this.#timer);
    const { tokens } = this.parts;
    const getToken = () => (this.#refused === undefined ? tokens.current() : tokens.renew(this.#refused));
    this.#timer = setTimeout(() => void this.#connect(getToken), milliseconds);
  }

  #onEvent(event: string, args: readonly unknown[]): void {
    if (event === 'authenticated') this.#onAuthenticated();
    else if (event === 'auth:expiring') void this.#refresh();
    else if (event === 'closing') this.#onClosing(args[0] as Closing);
    else if (event === 'error') this.#hasAuthError = !isProblem(args[0]);
    this.parts.onFrame(event, args);
  }

  #onAuthenticated(): void {
    this.#attempts = 0;
    this.#isUnreachableTold = false;
    this.#refused = undefined;
    this.#setStatus('online');
  }

  async #refresh(): Promise<void> {
    const { tokens, onError } = this.parts;
    // The service closes when the token expires; a token that cannot be renewed has had its time then.
    if (!tokens.isRenewable) return;
    try {
      const token = await tokens.renew(tokens.known);
      if (this.#status !== 'online') return;
      const reply = await this.request<object>('auth:refresh', { token }, REFRESH_TIMEOUT_MS);
      if (!reply.ok) onError(fromProblem(reply.error));
    } catch (error) {
      // The connection goes on until the token expires. Once it has ended, another token is asked for anyway.
      if (this.#status === 'online') onError(asTidingsError(error));
    }
  }

  #onClosing({ code, reason, retryInMs }: Closing): void {
    this.#socket.disconnect();
    if (retryInMs !== null) this.#connectIn(retryInMs);
    else if (code === 'token_expired' || code === 'revoked') this.#onRefusal(new TidingsError(code, reason));
    else this.end(this.#isLogoutExpected && code === 'logged_out' ? undefined : new TidingsError(code, reason));
  }

  /** The service will close this connection because it was asked to. */
  expectLogout(): void {
    this.#isLogoutExpected = true;
  }

  #onConnectError(error: Error & { data?: unknown }): void {
    if (isProblem(error.data)) this.#onRefusal(fromProblem(error.data));
    else if (this.#socket.active) this.#onUnreachable(error);
    else this.#retry(new TidingsError('unexpected_answer', error.message, { cause: error }));
  }

  /** Told once for each time that the connection is away; socket.io-client tries again by itself. */
  #onUnreachable({ message: reason }: Error): void {
    this.#setStatus(this.#status === 'connecting' ? 'connecting' : 'offline');
    if (this.#isUnreachableTold) return;
    this.#isUnreachableTold = true;
    const message = `${this.parts.address.origin} cannot be reached (${reason}); trying again`;
    this.parts.onError(new TidingsError('unreachable', message));
  }

  #onRefusal(error: TidingsError): void {
    if (TOKEN_ERRORS.has(error.code)) this.#onTokenRefused(error);
    else if (retryIn(error, true) !== undefined) this.#retry(error);
    else this.end(error);
  }

  /** An expired or revoked token may be followed by a fresh one at any time; another one that is not valid either is the end. */
  #onTokenRefused(error: TidingsError): void {
    const { tokens } = this.parts;
    const isFirst = this.#refused === undefined;
    const isSame = this.#refused === tokens.known;
    this.#refused = tokens.known;
    if (!tokens.isRenewable) this.end(error);
    else if (isFirst) void this.#connect(() => tokens.renew(this.#refused));
    else if (isSame || !PASSING_TOKEN_ERRORS.has(error.code)) this.end(error);
    else this.#retry(error);
  }

  #onDisconnect(reason: Socket.DisconnectReason): void {
    if (this.#status === 'closed') return;
    this.#setStatus('offline');
    if (reason !== 'io server disconnect') return;
    const error = new TidingsError('unauthorized', 'The service refused the token.');
    if (this.#hasAuthError) this.#onTokenRefused(error);
    else this.#connectIn(backoffMs(this.#attempts));
    this.#hasAuthError = false;
  }

  /** Breaks the connection and restores it: what was not acknowledged comes again. */
  restart(): void {
    if (this.#status !== 'online') return;
    this.#socket.disconnect();
    this.#connectIn(0);
  }

  /** Sends, and asks for nothing back. Without a connection it is dropped. */
  notify(event: string, payload: object): void {
    // A refusal would come as an event `error` if nobody waited for it, and nothing sent this way needs one.
    if (this.#status === 'online') this.#socket.emit(event, payload, ignoreAnswer);
  }

  /** @throws TidingsError `connection_lost`, `timeout`: then it may have been done or not. */
  async request<Answer>(event: string, payload: object | undefined, timeoutMs: number): Promise<Reply<Answer>> {
    const args = payload === undefined ? [] : [payload];
    try {
      return (await this.#socket.timeout(timeoutMs).emitWithAck(event, ...args)) as Reply<Answer>;
    } catch (error) {
      if (this.#status === 'online') throw new TidingsError('timeout', `There was no answer to ${event}.`);
      throw new TidingsError('connection_lost', `The connection ended before ${event} was answered.`, { cause: error });
    }
  }

  /** Closes it for good. Nothing of it is left running. */
  end(error?: TidingsError): void {
    if (this.#status === 'closed') return;
    clearTimeout(this.#timer);
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
const TOKEN_ERRORS: ReadonlySet<string> = new Set(['token_expired', 'unauthorized', 'revoked', 'token_revoked']);
/** A revocation refuses the tokens of its second too, fresh ones among them. */
const PASSING_TOKEN_ERRORS: ReadonlySet<string> = new Set(['token_expired', 'token_revoked']);

function asTidingsError(thrown: unknown): TidingsError {
  return thrown instanceof TidingsError ? thrown : new TidingsError('token_failed', messageOf(thrown));
}

function ignoreAnswer(): void {
  // See notify().
}
