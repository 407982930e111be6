/** The client of one user on one device: the object that an application holds. */
import { Acks } from './acks.ts';
import { parseAddress } from './address.ts';
import { Calls } from './calls.ts';
import { Connection, type Status, type TransportOptions } from './connection.ts';
import { openDevice } from './device.ts';
import { callSafely, fromProblem, TidingsError } from './errors.ts';
import type { ClientEvents, CustomEvents, CustomListener } from './events.ts';
import { Frames } from './frames.ts';
import { newId } from './ids.ts';
import { Inbox } from './inbox.ts';
import { Intake } from './intake.ts';
import { Listeners } from './listeners.ts';
import { Page } from './page.ts';
import { Presence } from './presence.ts';
import type { Authenticated, ListedMessage, Outgoing, SendAnswer } from './protocol.ts';
import { Rest } from './rest.ts';
import { Seen } from './seen.ts';
import { isHistoryPage, isSendAnswer } from './shapes.ts';
import { defaultStorage, memoryStorage, Shelf, type StorageAdapter } from './storage.ts';
import { Sync } from './sync.ts';
import { Pauses } from './timing.ts';
import { type TokenSource, Tokens } from './token.ts';
import { Topics } from './topics.ts';
import type { Traffic } from './traffic.ts';

export interface ClientOptions {
  /**
   * A token, or a function that fetches one: called for the first token, before one expires, and when one is refused.
   */
  readonly token: TokenSource;
  /** Keeps what must outlive the page: `localStorage` in browsers, memory elsewhere. */
  readonly storage?: StorageAdapter;
  /** The name of this device. If not given, it is made once and kept in the storage. */
  readonly device?: string;
  /** How long calls wait for a connection and an answer; 15 seconds. `Infinity`: for as long as it takes. */
  readonly timeoutMs?: number;
  /** The token claim that names the user, if the service has a JWT_USER_CLAIM other than `sub`. */
  readonly userClaim?: string;
  /** Passed to socket.io-client unchanged. */
  readonly transport?: TransportOptions;
}

const DEFAULT_TIMEOUT_MS = 15_000;
/** How many the service returns if no limit is given. */
const HISTORY_LIMIT = 50;

/**
 * Connects to the service at `url`, and stays connected until `close()`. Listeners that are added synchronously miss
 * nothing.
 * @throws TypeError when `url` is not an address, or `timeoutMs` not a time.
 */
export function connect<Custom extends object = CustomEvents>(
  url: string,
  options: ClientOptions,
): TidingsClient<Custom> {
  return new TidingsClient<Custom>(url, options);
}

export class TidingsClient<Custom extends object = CustomEvents> {
  /** The user's messages over all topics, with their states and counts. */
  readonly inbox: Inbox;
  readonly topics: Topics;
  /** Who is online. */
  readonly presence: Presence;
  readonly #url: string;
  readonly #options: ClientOptions;
  readonly #tokens: Tokens;
  readonly #rest: Rest;
  readonly #connection: Connection;
  readonly #calls: Calls;
  readonly #seen = new Seen();
  readonly #acks: Acks;
  readonly #intake: Intake;
  readonly #frames: Frames;
  readonly #listeners = new Listeners();
  readonly #statusListeners = new Set<(status: Status) => unknown>();
  readonly #trafficListeners = new Set<(traffic: Traffic) => unknown>();
  readonly #report = (error: TidingsError) => this.#tellError(error);
  readonly #page: Page;
  #preparation: Promise<void> | undefined;
  #device: string | undefined;
  #userId: string | undefined;
  readonly #sync: Sync;
  #lastSend: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  /** Equivalent to `connect()`. */
  constructor(url: string, options: ClientOptions) {
    const address = parseAddress(url);
    const tokens = new Tokens(options.token, options.userClaim);
    const pauses = new Pauses();
    const report = this.#report;
    this.#tokens = tokens;
    this.#url = address.origin + address.path;
    this.#options = options;
    this.#rest = new Rest(address, tokens);
    this.#connection = new Connection({
      address,
      tokens,
      prepare: (token) => this.#prepareOnce(token),
      device: () => this.#device ?? '',
      options: options.transport ?? {},
      onFrame: (event, args) => this.#receive(event, args),
      onStatus: (status) => this.#changeStatus(status),
      onError: report,
      onTraffic: (traffic) => this.#tellTraffic(traffic),
    });
    this.#calls = new Calls(this.#connection, pauses, readTimeout(options.timeoutMs));
    this.#acks = new Acks((topic, seq) => this.#connection.notify('ack', { topic, seq }));
    this.#intake = new Intake({
      seen: this.#seen,
      acks: this.#acks,
      pauses,
      listenersOf: (event) => this.#listeners.of(event),
      report,
      reconnect: () => this.#connection.restart(),
    });
    this.#sync = new Sync(this.#intake);
    this.inbox = new Inbox({ calls: this.#calls, rest: this.#rest, report, userId: () => this.#userId });
    this.topics = new Topics(this.#calls);
    this.presence = new Presence(this.#calls, () => this.status === 'online', report);
    this.#frames = new Frames({
      inbox: this.inbox,
      intake: this.#intake,
      presence: this.presence,
      seen: this.#seen,
      userId: () => this.#userId,
      emit: (event, payload) => this.#emit(event, payload),
      report,
    });
    this.#page = new Page({ onHide: () => void this.inbox.keep(), onWake: () => this.#connection.wake() });
    this.#connection.open();
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** Why the client is closed, if not by `close()`. */
  get error(): TidingsError | undefined {
    return this.#connection.error;
  }

  /** The user of the token, once there is one. */
  get userId(): string | undefined {
    return this.#userId;
  }

  /** The name of this device, once the storage has been read. */
  get device(): string | undefined {
    return this.#device;
  }

  /** Reads what is kept for the user, once: the token of another user is not accepted later. */
  #prepareOnce(token: string): Promise<void> {
    this.#preparation ??= this.#prepare(this.#tokens.subjectOf(token));
    return this.#preparation;
  }

  async #prepare(userId: string | undefined): Promise<void> {
    this.#userId = userId;
    const prefix = `tidings ${this.#url} ${userId ?? ''} `;
    // The user must be known: what is kept for one user is not for the next one.
    const storage = userId === undefined ? memoryStorage() : (this.#options.storage ?? defaultStorage());
    const shelf = new Shelf(storage, prefix, this.#report);
    const device = async () => this.#options.device ?? openDevice(shelf);
    [this.#device] = await Promise.all([device(), this.#seen.load(shelf), this.inbox.restore(shelf)]);
  }

  #receive(event: string, args: readonly unknown[]): void {
    if (event === 'authenticated') this.#userId = (args[0] as Authenticated).userId;
    this.#frames.receive(event, args);
    if (event === 'sync:done') void this.#sync.done();
    else this.#sync.received();
  }

  #changeStatus(status: Status): void {
    this.#calls.statusChanged();
    if (status === 'online') {
      this.#intake.connectionOpened();
      this.presence.connected();
    } else {
      this.#sync.reset();
      this.#acks.drop();
      this.inbox.disconnected();
    }
    for (const listener of [...this.#statusListeners]) callSafely(() => listener(status), this.#report);
    if (status !== 'closed') return;
    this.#sync.close(this.#reasonOfEnd());
    void this.#afterEnd();
  }

  /** Refused for good: nothing may be left running, and after a logout in another tab nothing is kept here. */
  async #afterEnd(): Promise<void> {
    await this.close();
    if (this.error?.code === 'logged_out') await this.inbox.forget();
  }

  /**
   * Adds a listener; returns the function that removes it. Messages are handed over one after the other, each once, and
   * acknowledged when all listeners have returned or resolved; see ClientEvents.
   */
  on<Name extends keyof ClientEvents>(name: Name, listener: ClientEvents[Name]): () => void;
  /** A custom event: the data that was sent under this name, and the other fields of the message. */
  on<Name extends Exclude<keyof Custom & string, keyof ClientEvents>>(
    name: Name,
    listener: CustomListener<Custom[Name]>,
  ): () => void;
  on(name: string, listener: (...args: never[]) => unknown): () => void {
    return this.#listeners.add(name, listener);
  }

  /** Calls after each change of `status`. It is not an event, because a message may have any event name. */
  onStatus(listener: (status: Status) => unknown): () => void {
    this.#statusListeners.add(listener);
    return () => {
      this.#statusListeners.delete(listener);
    };
  }

  /** Calls with every event on the connection, in both directions: for logs and tools. */
  onTraffic(listener: (traffic: Traffic) => unknown): () => void {
    this.#trafficListeners.add(listener);
    return () => {
      this.#trafficListeners.delete(listener);
    };
  }

  #tellTraffic(traffic: Traffic): void {
    for (const listener of [...this.#trafficListeners]) callSafely(() => listener(traffic), this.#report);
  }

  #emit(event: string, payload: unknown): void {
    for (const listener of this.#listeners.of(event)) callSafely(() => listener(payload), this.#report);
  }

  #tellError(error: TidingsError): void {
    const listeners = this.#listeners.of('error');
    // biome-ignore lint/suspicious/noConsole: an error that nobody listens to must not pass unseen
    const log = (unheard: TidingsError) => console.error(`tidings-client: ${unheard.message}`, ...causeOf(unheard));
    if (listeners.length === 0) log(error);
    for (const listener of listeners) callSafely(() => listener(error), log);
  }

  /** Has everything that was waiting been received, and have the listeners handled it? */
  get isSynced(): boolean {
    return this.#sync.isDone;
  }

  /**
   * Resolves then. In a message listener, it waits neither for the message that the listener is handling, nor for what
   * the service holds back until that is acknowledged.
   * @throws TidingsError when the client is closed first.
   */
  synced(): Promise<void> {
    if (this.status === 'closed') return Promise.reject(this.#reasonOfEnd());
    return this.#sync.wait();
  }

  #reasonOfEnd(): TidingsError {
    return this.error ?? new TidingsError('closed', 'The client was closed.');
  }

  /**
   * Sends to a user or to a topic, in the order of the calls. Resolves when the message is on disk. It is repeated
   * under one `id` until there is an answer, so it is sent once.
   * @throws TidingsError: the service's problem, or `timeout`: then it may have been sent or not, and may be sent again
   * with the same `id` if you gave one.
   */
  send(message: Outgoing): Promise<SendAnswer> {
    const payload = { ...message, id: message.id ?? newId() };
    // What is not stored cannot be recognized by its id.
    const options = { shape: isSendAnswer, mayRepeat: message.persist !== false, deadline: this.#calls.newDeadline() };
    const sending = this.#lastSend.then(() => this.#calls.call('message', payload, options));
    this.#lastSend = sending.then(noMatter, noMatter);
    return sending;
  }

  /** Messages of a topic by `seq`: the newest, those `before`, or the oldest `after`. Moves no cursor. */
  async history(
    topic: string,
    range: { readonly after?: number; readonly before?: number; readonly limit?: number } = {},
  ): Promise<readonly ListedMessage[]> {
    const found: ListedMessage[] = [];
    const { limit = HISTORY_LIMIT } = range;
    let cursor: string | undefined;
    do {
      const payload = { topic, ...range, limit: limit - found.length, ...(cursor === undefined ? {} : { cursor }) };
      const page = await this.#calls.call('history', payload, { shape: isHistoryPage, mayRepeat: true });
      found.splice(range.after === undefined ? 0 : found.length, 0, ...page.messages);
      cursor = page.nextCursor;
    } while (cursor !== undefined && found.length < limit);
    return found;
  }

  /** Reports that the user is typing, or has stopped: in a topic, or to `@name`. Without a connection it is dropped. */
  typing(topic: string, typing: boolean): void {
    this.#connection.notify('typing', { topic, typing });
  }

  /**
   * Sends any event to the service on the current connection: once, and with nothing added.
   * @throws TidingsError: the service's problem; `connection_lost` without a connection; `timeout`.
   */
  async request(event: string, payload?: object): Promise<object> {
    if (this.status !== 'online') throw new TidingsError('connection_lost', `${event}: there is no connection.`);
    const reply = await this.#connection.request<object>(event, payload, this.#calls.timeoutMs);
    if (reply.ok) return reply;
    throw fromProblem(reply.error);
  }

  /**
   * Keeps the connection and switches to another token of the same user: for applications that are given tokens and
   * cannot fetch one.
   * @throws TidingsError `other_user`, or the service's problem; then the previous token stays in use.
   */
  useToken(token: string): Promise<void> {
    return this.#connection.useToken(token);
  }

  /** Closes all connections of this user on this device, and removes the messages that are kept here. */
  async logout(): Promise<void> {
    this.#connection.expectLogout();
    await this.#calls.call('logout', undefined, { mayRepeat: false });
    this.#connection.end();
    await this.close();
    await this.inbox.forget();
  }

  /**
   * Ends everything. Resolves when nothing is left running: it waits up to two seconds for listeners at work, so that
   * their messages count as handled.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#page.close();
    await this.#intake.close();
    this.#acks.flush();
    this.#connection.end();
    this.#rest.close();
    await this.inbox.close();
  }
}

function readTimeout(timeoutMs = DEFAULT_TIMEOUT_MS): number {
  if (timeoutMs > 0) return timeoutMs;
  throw new TypeError(`timeoutMs: expected a number of milliseconds above 0, not ${String(timeoutMs)}`);
}

function causeOf({ cause }: TidingsError): unknown[] {
  return cause === undefined ? [] : [cause];
}

function noMatter(): void {
  // Each send is independent.
}
