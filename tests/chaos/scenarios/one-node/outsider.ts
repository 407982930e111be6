/** A user who sends in each possible way, and receives, beside the load: so each answer can be checked. */
import type { Message } from '../../../../utils/protocol';
import { openClient, type TestClient } from '../../../support/client';
import { range, testToken } from '../../../support/service';
import { type Answer, request } from '../../http';
import type { ChaosNode } from '../../node';
import { readInbox } from '../../round';

/** Anything that takes longer hangs. */
export const PATIENCE_MS = 20_000;
/** Sends to her are not part of the load. */
const GRETA = 'greta';
const TOPIC = 'disk';

export interface Refusal {
  readonly status: number;
  readonly code: string;
}

/** A fault in which sends are refused. */
export interface Refusing extends Refusal {
  /** Is no send accepted during it? Otherwise some are, and each kind of send is tried until one is not. */
  readonly isTotal: boolean;
}

/** Enough to use up the free space in the file. */
const MAX_TRIES = 200;
const LIVE_MESSAGES = 30;
const PADDING = 'x'.repeat(8_000);

type Send = (key: string) => { readonly path: string; readonly body: object; readonly key?: string };

const OUTSIDE = { type: 'outside', data: PADDING };
const USER = '/websocket/message/user';
const SENDS: Readonly<Record<string, Send>> = {
  user: (n) => ({ path: USER, body: { userId: GRETA, ...OUTSIDE, id: n } }),
  keyed: (key) => ({ path: USER, body: { userId: GRETA, ...OUTSIDE }, key }),
  scheduled: (n) => ({ path: USER, body: { userId: GRETA, ...OUTSIDE, delay: 3_600, id: n } }),
  topic: (n) => ({ path: `/topics/${TOPIC}/messages`, body: { ...OUTSIDE, id: n } }),
  batch: (n) => ({ path: '/messages/batch', body: { messages: [{ userId: GRETA, ...OUTSIDE, id: n }] } }),
};

export class Outsider {
  #live: TestClient | undefined;
  #count = 0;
  /** Ids that were answered 2xx and are in her inbox. */
  readonly #kept = new Set<string>();
  #refused: ReturnType<Send>[] = [];

  constructor(private readonly node: ChaosNode) {}

  #post({ path, ...options }: ReturnType<Send>): Promise<Answer | undefined> {
    const token = testToken('outsider', { scope: 'send' });
    return request(this.node.url + path, { method: 'POST', token, timeoutMs: PATIENCE_MS, ...options });
  }

  /** Greta has one device that is connected, and one that comes later. */
  async prepare(): Promise<void> {
    await this.#post({ path: '/topics', body: { name: TOPIC } });
    this.#live = await this.#connect('here');
    (await this.#connect('later')).close();
    await this.findRefused();
  }

  /** Nobody is connected for her any more. */
  leave(): void {
    this.#live?.close();
  }

  async #connect(device: string): Promise<TestClient> {
    const client = openClient(this.node.url, { auth: { token: testToken(GRETA), device }, reconnection: true });
    await client.next('sync:done');
    return client;
  }

  /** During the fault no send hangs, and each that is not accepted gets the reason. */
  async findAccepted(fault: Refusing, hasBitten: () => boolean): Promise<string[]> {
    const violations: string[] = [];
    for (const [name, send] of Object.entries(SENDS)) {
      const answers = fault.isTotal
        ? [await this.#sendOnce(send)]
        : await this.#sendUntilRefused(send, fault, hasBitten);
      const wrong = answers.filter((answer) => !isRefused(answer, fault) && (fault.isTotal || !isAccepted(answer)));
      violations.push(...wrong.map((answer) => `a send (${name}) was answered ${JSON.stringify(answer)}`));
      if (!answers.some((answer) => isRefused(answer, fault))) violations.push(`no send (${name}) was refused`);
    }
    return violations;
  }

  async #sendUntilRefused(send: Send, fault: Refusing, hasBitten: () => boolean): Promise<(Answer | undefined)[]> {
    const answers: (Answer | undefined)[] = [];
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const answer = await this.#sendOnce(send);
      answers.push(answer);
      if (answer === undefined || (isRefused(answer, fault) && hasBitten())) break;
    }
    return answers;
  }

  async #sendOnce(send: Send): Promise<Answer | undefined> {
    this.#count += 1;
    const sent = send(`outside ${this.#count}`);
    const answer = await this.#post(sent);
    if (isAccepted(answer)) this.#keep(answer);
    else this.#refused.push(sent);
    return answer;
  }

  #keep({ body }: Answer): void {
    const { id, topic, scheduledFor } = (body['results'] as [Answer['body']] | undefined)?.[0] ?? body;
    if (topic === `@${GRETA}` && scheduledFor === undefined) this.#kept.add(String(id));
  }

  /** Stored messages reach devices that come, and live messages those that are connected. */
  async findUndelivered(): Promise<string[]> {
    const later = await this.#connect('later');
    // The device has acknowledged nothing: the first page comes each time.
    const got = later.allMessages.length;
    later.close();
    const violations = got > 0 ? [] : ['what is stored was not delivered'];
    // One after the other, each counts what is stored: some come while the store is being reopened.
    for (const n of range(1, LIVE_MESSAGES)) {
      const data = `live ${n}`;
      const answer = await this.#post({ path: USER, body: { userId: GRETA, ...OUTSIDE, data, persist: false } });
      if (answer?.status !== 200) violations.push(`a live message was answered ${JSON.stringify(answer)}`);
      else while ((await this.#live?.next<Message>('message'))?.data !== data);
    }
    return violations;
  }

  /** After the fault the next send is accepted, and so is what was refused, under the same ids and keys. */
  async findRefused(): Promise<string[]> {
    this.#count += 1;
    const sends = [SENDS['user']?.(`outside ${this.#count}`), ...this.#refused.splice(0)];
    const violations: string[] = [];
    for (const send of sends) {
      const answer = send && (await this.#post(send));
      if (isAccepted(answer)) this.#keep(answer);
      else violations.push(`a send was answered ${JSON.stringify(answer)} when all was well again`);
    }
    return violations;
  }

  /** What was answered 2xx exists, once; and nothing else. */
  async findUnkept(): Promise<string[]> {
    await this.node.healthy();
    const items = (await readInbox(this.node.url, GRETA)).filter(({ topic }) => topic === `@${GRETA}`);
    const ids = new Set(items.map(({ id }) => id));
    const lost = [...this.#kept].filter((id) => !ids.has(id));
    const extra = items.filter(({ id }) => !this.#kept.has(id)).map(({ id }) => id);
    return [
      ...(lost.length > 0 ? [`I1: ${lost.length} sends were answered 2xx and are lost: ${lost[0]} …`] : []),
      ...(extra.length > 0 ? [`${extra.length} sends were refused and are stored: ${extra[0]} …`] : []),
      ...(ids.size === items.length ? [] : ['I2: an id is in the inbox twice']),
    ];
  }
}

function isAccepted(answer: Answer | undefined): answer is Answer {
  return answer !== undefined && answer.status < 300 && codesIn(answer).length === 0;
}

function isRefused(answer: Answer | undefined, { status, code }: Refusal): boolean {
  if (answer?.body['results'] !== undefined) return codesIn(answer).join() === code;
  return answer?.status === status && answer.body['code'] === code;
}

/** Of the items of a batch. */
function codesIn({ body }: Answer): string[] {
  const results = (body['results'] ?? []) as { error?: { code: string } }[];
  return results.flatMap(({ error }) => error?.code ?? []);
}
