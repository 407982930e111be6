/**
 * A user with a device on each of two nodes, and somebody who sends to them through the first: how soon each receives
 * it. Everything goes into a history, which is checked at the end.
 */
import { testToken } from '../support/service';
import { judge } from './checker';
import { ReconnectingDevice } from './device';
import { examine, type Findings } from './findings';
import { History, type Place } from './history';
import { request } from './http';
import { CONNECT_PATIENCE_MS } from './round';
import type { Figures, Outcome } from './scenario';
import type { Nodes } from './two-nodes';

const SEND_PATIENCE_MS = 15_000;
const DELIVERY_PATIENCE_MS = 20_000;

/** One message, and how it went. All times in milliseconds. */
export interface Said {
  readonly status: number | undefined;
  readonly body: Readonly<Record<string, unknown>>;
  /** From the request to the answer. */
  readonly answeredMs: number;
  /** From the answer to the delivery on the node that was asked, and on the other one. Infinity: not in 20 s. */
  readonly near: Promise<number>;
  readonly far: Promise<number>;
}

/** Runs a scenario with a pair, to its end or to an error: in both cases the nodes are checked. */
export async function runWithPair(
  all: Nodes,
  work: (pair: Pair, findings: Findings) => Promise<Figures>,
): Promise<Outcome> {
  const pair = await Pair.open(all);
  const outcome = await examine(all.nodes, async (findings) => {
    const figures = await work(pair, findings);
    findings.violations.push(...pair.violations());
    return figures;
  });
  return { ...outcome, evidence: { history: pair.history, logs: outcome.evidence } };
}

export class Pair {
  readonly history = new History();
  readonly near: ReconnectingDevice;
  readonly far: ReconnectingDevice;
  readonly #token = testToken('service', { scope: 'send presence' });
  #count = 0;

  private constructor(
    private readonly nodes: Nodes['nodes'],
    private readonly userId: string,
  ) {
    this.near = this.device(userId, 'near', 0);
    this.far = this.device(userId, 'far', 1);
  }

  static async open({ nodes }: Pick<Nodes, 'nodes'>, userId = 'anna'): Promise<Pair> {
    const pair = new Pair(nodes, userId);
    await Promise.all([pair.near, pair.far].map((device) => device.open(CONNECT_PATIENCE_MS)));
    return pair;
  }

  /** A device that knows only one of the nodes. */
  device(userId: string, device: string, node: number): ReconnectingDevice {
    const url = this.nodes[node]?.url ?? '';
    return new ReconnectingDevice({ userId, device, urls: [url], first: 0, history: this.history });
  }

  /** Messages so far. */
  get count(): number {
    return this.#count;
  }

  /** Sends one message, without a retry. */
  say(through: 0 | 1 = 0): Promise<Said> {
    this.#count += 1;
    return this.sayAgain(this.#count, through);
  }

  /** Sends the message with this number, which may have been tried before. */
  async sayAgain(number: number, through: 0 | 1 = 0): Promise<Said> {
    const key = `${this.userId} ${number}`;
    const { history, nodes, userId, near, far } = this;
    history.tried({ key, topic: `@${userId}` });
    const startedAt = performance.now();
    const answer = await request(`${nodes[through].url}/websocket/message/user`, {
      method: 'POST',
      token: this.#token,
      key,
      body: { userId, type: 'pair', data: { key } },
      timeoutMs: SEND_PATIENCE_MS,
    });
    const answeredAt = performance.now();
    const said = { status: answer?.status, body: answer?.body ?? {}, answeredMs: answeredAt - startedAt };
    if (answer?.status !== 200) return { ...said, near: Promise.resolve(Infinity), far: Promise.resolve(Infinity) };
    const place = answer.body as unknown as Place;
    history.answered(key, place);
    const [here, there] = through === 0 ? [near, far] : [far, near];
    return { ...said, near: arrival(here, place, answeredAt), far: arrival(there, place, answeredAt) };
  }

  /** Does this node list the user as connected? `undefined`: it does not say. */
  async isListed(userId: string, node: 0 | 1): Promise<boolean | undefined> {
    const answer = await request(`${this.nodes[node].url}/websocket/users/${userId}/status`, { token: this.#token });
    return answer?.body['connected'] as boolean | undefined;
  }

  /** Checks what both have received, and that nobody was disturbed. */
  violations(): string[] {
    const { history, userId, near, far } = this;
    const recipientsOf = (topic: string) => (topic === `@${userId}` ? [userId] : []);
    const cut = [near, far].filter(({ connections }) => connections !== 1);
    return [
      ...judge({ history, devices: [near, far], recipientsOf, held: new Map() }),
      ...cut.map(({ device, connections }) => `the ${device} device had to connect ${connections} times`),
    ];
  }
}

async function arrival(device: ReconnectingDevice, place: Place, answeredAt: number): Promise<number> {
  const missing = await device.missing([place], DELIVERY_PATIENCE_MS);
  return missing.length > 0 ? Infinity : performance.now() - answeredAt;
}
