/** One node of a round: a process that is killed, restarted at the same address, and stopped for a while. */
import { once } from 'node:events';
import type { Balance } from '../../utils/balance';
import { isOnlyPolling, outstanding } from '../support/balance';
import { exchange } from '../support/http';
import { parseMetrics } from '../support/metrics';
import { freePort, type RunningProcess, runServer } from '../support/process';
import { TEST_SECRET } from '../support/service';
import { onTestEnd } from '../support/temporary';
import { request } from './http';
import { withSlack } from './slack';
import { pace, until } from './until';

const START_PATIENCE_MS = 60_000;
const BALANCE_PATIENCE_MS = withSlack(15_000);
const UNHANDLED = /unhandled|uncaught|nobody handled/i;

export interface NodeParts {
  readonly name: string;
  /** In addition to the settings of every node of a round, such as its store. */
  readonly env: Readonly<Record<string, string>>;
  /** A program, with its arguments, that runs the node: for example strace. */
  readonly under?: readonly string[];
}

export class ChaosNode {
  readonly #runs: RunningProcess[] = [];
  /** A node that ends by itself is a violation; killed ones are listed here. */
  readonly #killed = new Set<RunningProcess>();
  readonly #ends: string[] = [];
  #isOver = false;
  #tolerated: NodeJS.Signals | undefined;

  private constructor(
    readonly name: string,
    readonly url: string,
    private readonly env: Record<string, string>,
    private readonly under: readonly string[],
  ) {}

  static async start({ name, env, under = [] }: NodeParts): Promise<ChaosNode> {
    const port = await freePort();
    const standard = {
      NODE_ENV: 'production',
      NODE_ID: name,
      PORT: String(port),
      JWT_SECRET: TEST_SECRET,
      RATE_LIMIT_SERVICE_PER_MINUTE: '1000000000',
      RATE_LIMIT_PER_MINUTE: '1000000000',
      SHUTDOWN_TIMEOUT_MS: '1000',
      DIRECT_MESSAGES: 'true',
      TOPIC_CREATION: 'true',
      PRESENCE_PUBLIC: 'true',
    };
    const node = new ChaosNode(name, `http://127.0.0.1:${port}`, { ...standard, ...env }, under);
    await node.#run();
    onTestEnd(() => node.over());
    return node;
  }

  async #run(): Promise<void> {
    const server = runServer(this.env, { under: this.under });
    this.#runs.push(server);
    server.child.once('exit', (code, signal) => {
      if (this.#isOver || this.#killed.has(server) || (signal !== null && signal === this.#tolerated)) return;
      this.#ends.push(`I7: ${this.name} ended by itself (${signal ?? code}): ${server.lines.slice(-3).join(' | ')}`);
    });
    await server.line(/"msg":"listening"/);
  }

  /** The current process, or the last one. */
  get process(): RunningProcess {
    const current = this.#runs.at(-1);
    if (current === undefined) throw new Error(`${this.name} was never started`);
    return current;
  }

  /** kill -9, and a restart after a while. */
  async kill(downMs: number): Promise<void> {
    await this.end();
    await pace(downMs);
    await this.startAgain();
  }

  /** Ends it for good; resolves to its exit code and signal. */
  end(signal: NodeJS.Signals = 'SIGKILL'): ReturnType<RunningProcess['end']> {
    this.#killed.add(this.process);
    return this.process.end(signal);
  }

  /** Starts it again after `end`, at the same address. */
  async startAgain(): Promise<void> {
    await this.#run();
  }

  /** Stops the process in the middle of whatever it does, and continues it. */
  async pause(milliseconds: number): Promise<void> {
    const { child } = this.process;
    child.kill('SIGSTOP');
    // If it was killed meanwhile, it need not continue.
    const gone = once(child, 'exit');
    await Promise.race([pace(milliseconds), gone]);
    child.kill('SIGCONT');
  }

  /** Resolves when the node serves, and reaches the others. */
  async healthy(): Promise<void> {
    await until(
      `${this.name} is healthy`,
      START_PATIENCE_MS,
      // A slow answer is an answer, too: breaking off and asking again makes a busy node busier.
      () => request(`${this.url}/readyz`, { timeoutMs: START_PATIENCE_MS }),
      (answer) => answer?.status === 200 && answer.body['live'] === 'ok',
    );
  }

  /** An end by this signal is no violation: the scenario restarts it. */
  tolerate(signal: NodeJS.Signals): void {
    this.#tolerated = signal;
  }

  /** Resolves when the current process has ended. */
  async ended(): Promise<void> {
    const { child } = this.process;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** From now on it may end: an aborted test ends what it began. */
  over(): void {
    this.#isOver = true;
  }

  /**
   * To be asked when its clients are closed. A node that does not answer holds nothing.
   * @returns what it has not got back from them.
   */
  async findTaken(): Promise<string[]> {
    const deadline = performance.now() + BALANCE_PATIENCE_MS;
    for (;;) {
      const balance = await readBalance(this.url);
      const left = balance === undefined || isOnlyPolling(balance) ? {} : outstanding(balance);
      if (Object.keys(left).length === 0) return [];
      if (performance.now() > deadline) return [`${this.name} has not got back ${JSON.stringify(left)}`];
      await pace();
    }
  }

  /**
   * Ends it, so that the last line of its log has been read.
   * @returns violations of I7: it ended only when it was killed, and handled every error.
   */
  async conclude(): Promise<string[]> {
    this.over();
    await this.process.end('SIGKILL');
    const unhandled = this.log.filter((line) => UNHANDLED.test(line));
    return [...this.#ends, ...unhandled.map((line) => `I7: ${this.name} logged ${line}`)];
  }

  /** Lags behind by what was not read yet, while it runs: judge it after the end. */
  get log(): readonly string[] {
    return this.#runs.flatMap(({ lines }) => lines);
  }
}

/** @returns `undefined` when there is no answer. */
async function readBalance(url: string): Promise<Balance | undefined> {
  const answer = await exchange(url, { path: '/metrics', headers: { Connection: 'close' } }).catch(() => undefined);
  if (answer?.status !== 200) return undefined;
  const taken = parseMetrics(answer.text).families.find(({ name }) => name === 'tidings_taken');
  const balance = Object.fromEntries((taken?.samples ?? []).map(({ labels, value }) => [labels['what'] ?? '', value]));
  // Connections that this process keeps for its next request are its own.
  return { ...balance, httpSockets: 0 };
}
