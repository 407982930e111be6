/** The users whose messages are counted: those who stay connected, and those who come and go. */
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type Departure, SoakClient, type Wire } from './client';
import { type Ledger, Recipient } from './ledger';
import { pause } from './pause';
import { heartbeatMs, type SoakPlan, userIdsOf } from './plan';
import { freshToken } from './tokens';

/** Connections that are opened at the same time. */
const OPENING_AT_ONCE = 16;
/** A client that has vanished is kept for two heartbeats and this: then the service has noticed. */
const VANISHED_MARGIN_MS = 2_000;
const COME_BACK_MS = 500;
const STAY_MS = { from: 1_000, to: 12_000 };
const AWAY_MS = { from: 200, to: 8_000 };
const SMALL_TALK_MS = { from: 1_000, to: 5_000 };
const FRESH_TOKEN_SHARE = 4;
const WATCHER_SHARE = 8;

interface CrowdParts {
  readonly origin: string;
  readonly plan: SoakPlan;
  readonly ledger: Ledger;
  /** A whole number below a bound. */
  readonly random: (below: number) => number;
}

interface Person {
  readonly userId: string;
  readonly client: SoakClient;
  readonly isResident: boolean;
  readonly index: number;
}

export class Crowd {
  readonly #people: Person[];
  readonly #running: Promise<void>[] = [];
  readonly #vanished = new Set<{ vanished(): void }>();
  readonly #over = new AbortController();

  /** Connections that were started. */
  connects = 0;
  /** Connections of users who stay: on a busy machine, a heartbeat may be late. */
  lost = 0;

  constructor(private readonly parts: CrowdParts) {
    setMaxListeners(0, this.#over.signal);
    this.#people = userIdsOf(parts.plan).map((userId, index) => this.#enter(userId, index));
  }

  #enter(userId: string, index: number): Person {
    const { plan, ledger, origin } = this.parts;
    const isResident = index < plan.users / 2;
    const wire: Wire = index % 2 === 0 ? 'socketio' : 'plain';
    const device = index % 4 < 3 ? `device-${index}` : undefined;
    // Without a device, what is in a buffer when a connection ends may be lost: only users who stay are promised
    // everything.
    const recipient = new Recipient(`${userId}/${device ?? '(no name)'}`, userId, device !== undefined || isResident);
    ledger.enter(userId, recipient);
    const client = new SoakClient({ origin, wire, userId, device, recipient });
    const person = { userId, client, isResident, index };
    if (isResident) {
      client.onLost = () => {
        if (device === undefined) recipient.release();
        void this.#comeBack(person);
      };
    }
    return person;
  }

  /** Connects everybody for the first time: from then on, they receive everything for them. */
  async open(): Promise<void> {
    const waiting = [...this.#people];
    const connectRest = async () => {
      for (let person = waiting.shift(); person !== undefined; person = waiting.shift()) await this.#connect(person);
    };
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, connectRest));
  }

  async #connect({ client }: Person): Promise<void> {
    this.connects += 1;
    await client.connect();
  }

  /** Begins to come and go, and to send. */
  start(): void {
    for (const person of this.#people)
      this.#running.push(person.isResident ? this.#chat(person) : this.#commute(person));
  }

  async #chat(person: Person): Promise<void> {
    const { random, plan } = this.parts;
    const { client, userId, index } = person;
    const isWatching = index % WATCHER_SHARE < 2;
    if (isWatching) watch(client, index);
    while (await this.#pause(SMALL_TALK_MS)) {
      client.emit('typing', { topic: `@soak-${random(plan.users)}`, typing: true });
      if (random(FRESH_TOKEN_SHARE) === 0)
        client.emit(index % 2 === 0 ? 'auth:refresh' : 'auth', { token: freshToken(userId) });
      else client.emit('ping', {});
    }
  }

  async #comeBack(person: Person): Promise<void> {
    this.lost += 1;
    await delay(COME_BACK_MS);
    await this.#connect(person).catch((fault: unknown) => {
      this.parts.ledger.complain(`${person.userId} did not get in again: ${String(fault)}`);
    });
  }

  async #commute(person: Person): Promise<void> {
    try {
      while (await this.#pause(STAY_MS)) {
        this.#leave(person);
        await this.#pause(AWAY_MS);
        await this.#connect(person);
      }
    } catch (fault) {
      this.parts.ledger.complain(`${person.userId} did not get in: ${String(fault)}`);
    }
  }

  #leave({ client }: Person): void {
    const how = (['close', 'close', 'reset', 'reset', 'silence'] as const)[this.parts.random(5)] as Departure;
    const gone = client.leave(how);
    if (how !== 'silence') return;
    this.#vanished.add(gone);
    const timer = setTimeout(
      () => {
        gone.vanished();
        this.#vanished.delete(gone);
      },
      2 * heartbeatMs(this.parts.plan) + VANISHED_MARGIN_MS,
    );
    timer.unref();
  }

  /** @returns whether the run continues. */
  #pause({ from, to }: { from: number; to: number }): Promise<boolean> {
    return pause(from + this.parts.random(to - from), this.#over.signal);
  }

  /** Nobody comes or goes any more. Resolves when everybody is connected. */
  async settle(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#running);
  }

  /** Everybody disconnects for good. */
  close(): void {
    this.#over.abort();
    for (const { client } of this.#people) client.leave('close');
    for (const gone of this.#vanished) gone.vanished();
  }
}

function watch(client: SoakClient, index: number): void {
  if (index % 2 === 0) client.emit('presence:subscribe', {});
  else client.emit('presence', { on: true });
}
