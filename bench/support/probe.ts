/**
 * Messages to a few users at a steady rate, from a separate process: thousands of clients in the benchmark's process
 * would hold up the clock that measures latencies.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { openConnections } from './http-connection';
import { createLanes, type Lane, sendAtRate } from './load';
import { connectReceiver, type Server } from './receivers';
import { Tally } from './tally';
import { createServiceToken } from './tokens';

const USERS = 16;
const PER_SECOND = 100;
const TEXT = 'x'.repeat(128);
/** What everybody receives, with or without the probe. */
const BROADCAST_TOPIC = '*';
/** Handshakes of the probe compete with those of everybody. */
const CONNECT_ATTEMPTS = 200;
const RETRY_MS = 50;

/** What was sent between start and stop. */
export interface Probed {
  /** Milliseconds from when each message was due until it was on the socket of its user. */
  readonly latencies: readonly number[];
  readonly faults: readonly string[];
}

export interface Probe {
  /** Connects its users. */
  connect(server: Server): Promise<void>;
  /** Begins to send. */
  start(): Promise<void>;
  /** Waits for what is in flight. */
  stop(): Promise<Probed>;
  end(): void;
}

type Order = { readonly kind: 'connect'; readonly server: Server } | { readonly kind: 'start' | 'stop' };

/** Starts the process; it knows no server yet. */
export async function createProbe(): Promise<Probe> {
  const child = fork(__filename, { execArgv: ['--import=tsx'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const order = async (what: Order): Promise<unknown> => {
    const answered = once(child, 'message');
    child.send(what);
    const [{ result, error }] = (await answered) as [Answer];
    if (error !== undefined) throw new Error(`the probe failed: ${error}`);
    return result;
  };
  await once(child, 'message');
  return {
    async connect({ port, kind }) {
      await order({ kind: 'connect', server: { port, kind } });
    },
    async start() {
      await order({ kind: 'start' });
    },
    stop: () => order({ kind: 'stop' }) as Promise<Probed>,
    end: () => child.disconnect(),
  };
}

interface Answer {
  readonly result?: unknown;
  readonly error?: string;
}

/** The process itself. */
class ProbeProcess {
  readonly #latencies: number[] = [];
  readonly #dueAt = new Map<string, number>();
  readonly #sent: number[] = [];
  readonly #tally = new Tally();
  #server: Server | undefined;
  #run: { readonly stop: AbortController; readonly sending: Promise<void> } | undefined;

  async answer(order: Order): Promise<Answer> {
    try {
      if (order.kind === 'connect') await this.#connect(order.server);
      else if (order.kind === 'start') await this.#start();
      return { result: order.kind === 'stop' ? await this.#stop() : order.kind };
    } catch (error) {
      return { error: String(error) };
    }
  }

  async #connect(server: Server): Promise<void> {
    this.#server = server;
    await Promise.all(Array.from({ length: USERS }, (_, user) => this.#connectUser(server, user)));
  }

  async #connectUser(server: Server, user: number): Promise<void> {
    let reason: unknown;
    for (let attempt = 0; attempt < CONNECT_ATTEMPTS; attempt += 1) {
      try {
        await connectReceiver(server, userAt(user), ({ topic, data }) => {
          if (topic !== BROADCAST_TOPIC) this.#note(user, data.n);
        });
        return;
      } catch (error) {
        reason = error;
        await delay(RETRY_MS);
      }
    }
    throw reason;
  }

  async #start(): Promise<void> {
    const server = this.#server;
    if (server === undefined) throw new Error('not connected');
    const connections = await openConnections(USERS, server.port, createServiceToken());
    this.#latencies.length = 0;
    this.#tally.begin();
    const stop = new AbortController();
    const rate = { perSecond: PER_SECOND, count: Number.POSITIVE_INFINITY, signal: stop.signal };
    const send = (lane: Lane, due: number) => this.#sendOne(server, lane, due);
    const sending = sendAtRate(createLanes(connections), rate, send).finally(() => {
      for (const connection of connections) connection.close();
    });
    this.#run = { stop, sending };
  }

  async #sendOne({ kind }: Server, { index, connection }: Lane, due: number): Promise<void> {
    const n = (this.#sent[index] ?? 0) + 1;
    this.#sent[index] = n;
    this.#dueAt.set(`${index}/${n}`, due);
    const content = { userId: userAt(index), type: 'bench', data: { n, text: TEXT } };
    await this.#tally.noteAnswer(connection.post(kind.sendPath, content));
  }

  #note(user: number, n: number): void {
    const key = `${user}/${n}`;
    this.#latencies.push(performance.now() - (this.#dueAt.get(key) ?? Number.NaN));
    this.#dueAt.delete(key);
    this.#tally.noteDelivery(user, n);
  }

  async #stop(): Promise<Probed> {
    this.#run?.stop.abort();
    await this.#run?.sending;
    const due = this.#latencies.length + this.#dueAt.size;
    await this.#tally.waitForDeliveries(due);
    return { latencies: this.#latencies, faults: this.#tally.findFaults(due).map((fault) => `probe: ${fault}`) };
  }
}

/** Each probe has its own users. */
function userAt(index: number): string {
  return `probe-${process.pid}-${index}`;
}

if (require.main === module) {
  const probe = new ProbeProcess();
  process.on('message', (order: Order) => {
    void probe.answer(order).then((answer) => process.send?.(answer));
  });
  process.once('disconnect', () => process.exit());
  process.send?.('ready');
}
