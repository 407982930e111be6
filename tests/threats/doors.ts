/** Every door through which a user without a scope sends something. */
import { as } from '../features/callers';
import { connectPlain } from '../support/plain-client';
import type { TestService } from '../support/service';

/** What became of it: the fields of the answer, or the code of the refusal. */
export interface Outcome {
  readonly code: string;
  readonly answer: Record<string, unknown>;
}

/** Sends `content` as a user, to a topic or a person, named like topics: `@name`. */
export type Say = (service: TestService, from: string, to: string, content: object) => Promise<Outcome>;

function outcomeOf(reply: object): Outcome {
  const { ok, error, ...answer } = reply as { ok: boolean; error?: { code: string } };
  return { code: error?.code ?? 'accepted', answer };
}

const overSocketIo: Say = async (service, from, to, content) => {
  const client = await service.connect(from);
  const reply = await client.call('message', { topic: to, ...content });
  client.close();
  return outcomeOf(reply);
};

const directly: Say = async (service, from, to, content) => {
  const client = await service.connect(from);
  const reply = await client.call('message', { to: to.replace('@', ''), ...content });
  client.close();
  return outcomeOf(reply);
};

const overPlain: Say = async (service, from, to, content) => {
  const client = await connectPlain(service.url, from);
  const reply = await client.call('message', { topic_name: to, ...content });
  client.close();
  return outcomeOf(reply);
};

const overRest: Say = async (service, from, to, content) => {
  const { body, status } = await as(service, from).post(`/topics/${to}/messages`).send(content);
  return { code: status < 300 ? 'accepted' : body.code, answer: body };
};

/** To a topic that the speaker is in. */
export const TOPIC_DOORS: [name: string, say: Say][] = [
  ['REST', overRest],
  ['Socket.IO', overSocketIo],
  ['plain WebSocket', overPlain],
];

/** To a person. */
export const PERSON_DOORS: [name: string, say: Say][] = [
  ['Socket.IO `to`', directly],
  ['Socket.IO `topic`', overSocketIo],
  ['plain WebSocket', overPlain],
  ['plain WebSocket, bare', (service, from, to, content) => overPlain(service, from, to.replace('@', ''), content)],
];
