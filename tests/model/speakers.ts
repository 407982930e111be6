/** The connections over which the service user sends: to each node over each transport. They stay during a run. */
import { Link, type TransportName } from './link';
import type { Answer } from './world';

interface Speaker {
  readonly link: Link;
  readonly node: number;
}

const TRANSPORTS: readonly TransportName[] = ['plain', 'socketio'];

export class Speakers {
  readonly #byKey = new Map<string, Speaker>();

  constructor(
    private readonly ports: () => readonly number[],
    private readonly token: () => string,
  ) {}

  /** Those that are there. */
  count(node?: number): number {
    return [...this.#byKey.values()].filter((one) => !one.link.isEnded && one.node === (node ?? one.node)).length;
  }

  async open(): Promise<void> {
    for (const [node, port] of this.ports().entries()) {
      for (const transport of TRANSPORTS) await this.#openOne(node, port, transport);
    }
  }

  async #openOne(node: number, port: number, transport: TransportName): Promise<void> {
    const key = `${node} ${transport}`;
    if (this.#byKey.get(key)?.link.isEnded === false) return;
    const link = new Link({ port, transport, token: this.token(), device: undefined, onFrame: () => {} });
    if (!(await link.until(() => link.isSynced))) throw new Error(`nobody may speak: ${link.closing}`);
    this.#byKey.set(key, { link, node });
  }

  /** @param b chooses the node and the transport. */
  tell(b: number, userId: string, words: object): Promise<Answer> {
    const node = b % this.ports().length;
    const transport = TRANSPORTS[(b >> 1) % TRANSPORTS.length] ?? 'plain';
    const link = this.#byKey.get(`${node} ${transport}`)?.link;
    if (link === undefined) return Promise.resolve({ status: 503, body: { code: 'nobody is there' } });
    if (transport === 'plain') return link.ask('message', { topic_name: `@${userId}`, ...words });
    return link.ask('message', { to: userId, ...words });
  }

  close(): void {
    for (const { link } of this.#byKey.values()) link.reset();
    this.#byKey.clear();
  }
}
