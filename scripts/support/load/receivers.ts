/** The connections of a run. Each is a named device: it acknowledges, and loses nothing when it breaks. */
import { setTimeout as delay } from 'node:timers/promises';
import { io, type Socket } from 'socket.io-client';
import type { Problem } from '../../../utils/errors';
import { explainProblem } from '../explain';
import { explainNoConnection } from '../requests';
import { Failure } from '../terminal';
import { deviceOf, type LoadPlan, userIdOf } from './plan';
import type { Arrival, Positions, Tally } from './tally';

/** Half of the default of HANDSHAKES_PER_SECOND: others connect, too. */
const OPENED_PER_SECOND = 250;
const OPENED_AT_ONCE = 50;
const OPENING_PATIENCE_MS = 30_000;
const ACK_INTERVAL_MS = 500;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_RECONNECTION_DELAY_MS = 2_000;

export interface ReceiverOptions {
  readonly origin: string;
  readonly plan: LoadPlan;
  readonly tally: Tally;
  makeToken(userId: string): string;
}

interface Receiver {
  readonly socket: Socket;
  positions: Positions;
}

export class Receivers {
  connected = 0;
  /** Connections that ended before the run did. */
  broken = 0;
  /** How often the service has given this code as the reason. */
  readonly closings = new Map<string, number>();
  readonly #receivers: Receiver[] = [];
  readonly #unacknowledged = new Set<Receiver>();
  readonly #ackTimer: NodeJS.Timeout;
  readonly #openings = new Set<(reason: Failure) => void>();
  #opened = 0;
  #isClosed = false;

  constructor(private readonly options: ReceiverOptions) {
    this.#ackTimer = setInterval(() => this.#acknowledge(), ACK_INTERVAL_MS);
  }

  /**
   * Opens all connections, one of them first: a fault of that one applies to all. Resolves when all are up to date.
   * @throws Failure when one is refused, or does not open in time.
   */
  async open(): Promise<void> {
    await this.#openNext();
    const startedAt = performance.now();
    const workers = Array.from({ length: OPENED_AT_ONCE }, () => this.#openRest(startedAt));
    await Promise.all(workers);
  }

  async #openRest(startedAt: number): Promise<void> {
    while (this.#opened < this.options.plan.connections && !this.#isClosed) {
      const dueAt = startedAt + (this.#opened * 1_000) / OPENED_PER_SECOND;
      await this.#openNext(dueAt);
    }
  }

  async #openNext(dueAt = 0): Promise<void> {
    const index = this.#opened;
    this.#opened += 1;
    await delay(Math.max(0, dueAt - performance.now()));
    if (this.#isClosed) return;
    const { origin, plan, makeToken } = this.options;
    const socket = io(origin, {
      transports: ['websocket'],
      forceNew: true,
      timeout: CONNECT_TIMEOUT_MS,
      reconnectionDelayMax: MAX_RECONNECTION_DELAY_MS,
      auth: (give: (auth: object) => void) =>
        give({ token: makeToken(userIdOf(index, plan)), device: deviceOf(index, plan) }),
    });
    const receiver = { socket, positions: new Map<string, number>() };
    this.#receivers.push(receiver);
    this.#watch(receiver, index);
    await this.#untilReady(socket, index === 0);
  }

  #watch(receiver: Receiver, index: number): void {
    const { socket } = receiver;
    socket.on('connect', () => {
      this.connected += 1;
      receiver.positions = new Map();
    });
    socket.on('disconnect', () => {
      this.connected -= 1;
      if (!this.#isClosed) this.broken += 1;
    });
    socket.on('closing', ({ code }: { code: string }) => {
      this.closings.set(code, (this.closings.get(code) ?? 0) + 1);
    });
    socket.on('message', (message: Arrival) => {
      this.options.tally.noteArrival(index, receiver.positions, message);
      this.#unacknowledged.add(receiver);
    });
  }

  #untilReady(socket: Socket, isFirst: boolean): Promise<void> {
    const { origin, plan } = this.options;
    return new Promise((resolve, reject) => {
      const settle = (reason?: Failure) => {
        clearTimeout(timer);
        this.#openings.delete(settle);
        socket.off('connect_error', onRefusal);
        if (reason === undefined) resolve();
        else reject(reason);
      };
      const fail = (sentence: string) => {
        socket.close();
        settle(new Failure(`After ${this.connected} of ${plan.connections} connections: ${sentence}`));
      };
      const explainAndFail = () => void explainNoConnection(origin).then(fail);
      const onRefusal = ({ data }: Error & { data?: Problem }) => {
        if (data !== undefined) fail(explainProblem(data, { isTokenLocal: true }));
        // Later ones retry by themselves: a refused handshake may succeed in the next second.
        else if (isFirst) explainAndFail();
      };
      const timer = setTimeout(explainAndFail, OPENING_PATIENCE_MS);
      this.#openings.add(settle);
      socket.once('sync:done', () => settle());
      socket.on('connect_error', onRefusal);
    });
  }

  #acknowledge(): void {
    for (const { socket, positions } of this.#unacknowledged) {
      if (!socket.connected) continue;
      for (const [topic, seq] of positions) socket.emit('ack', { topic, seq });
    }
    this.#unacknowledged.clear();
  }

  /** Acknowledges what has arrived, and closes. Connections that are still being opened fail. */
  close(): void {
    this.#isClosed = true;
    for (const settle of this.#openings) settle(new Failure('Interrupted: nothing was sent.'));
    clearInterval(this.#ackTimer);
    this.#acknowledge();
    for (const { socket } of this.#receivers) socket.close();
  }
}
