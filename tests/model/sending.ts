/** Sends: to users, to the topic, and to everybody. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Acts } from './acts';
import type { Audience } from './history';
import type { Scene } from './scene';
import { type Answer, type Asking, becomes } from './world';

interface Options {
  readonly ttl?: number;
  readonly collapseKey?: string;
  readonly exceptUserId?: string;
}

const KEYS = ['k1', 'k2'] as const;
const ATTEMPTS = 3;

export const sending: Acts = {
  send: { weight: 14, begin: (scene, a, b) => send(scene, scene.user(a), {}, b) },
  sendBriefly: { weight: 3, begin: (scene, a, b) => send(scene, scene.user(a), { ttl: 1 + (b % 20) }, b) },
  sendReplacing: {
    weight: 5,
    begin: (scene, a, b) => send(scene, scene.user(a), { collapseKey: KEYS[b % 4 === 0 ? 1 : 0] }, b >> 2),
  },
  sendMany: {
    weight: 3,
    begin: (scene, a, b) => sendMany(scene, scene.user(a), b % 21 === 0 ? 201 + (b % 13) : 1 + (b % 4)),
  },
  sendTogether: { weight: 3, isAlone: true, begin: (scene, a, b) => sendTogether(scene, scene.user(a), b) },
  sendLater: { weight: 2, begin: (scene, a, b) => schedule(scene, scene.user(a), 1 + (b % 60)) },
  cancelLater: { weight: 1, begin: (scene, a) => cancel(scene, a) },
  say: { weight: 8, begin: (scene, _a, b) => say(scene, scene.topic, {}, b) },
  broadcast: {
    weight: 3,
    begin: (scene, a, b) => say(scene, '*', a % 2 === 0 ? { exceptUserId: scene.user(b) } : {}, b),
  },
};

/** Sends the same again while the service cannot answer. */
export async function insist(scene: Scene, ask: (attempt: number) => Promise<Answer>, what: string): Promise<Answer> {
  let answer: Answer = { status: 0, body: {} };
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    answer = await ask(attempt);
    if (answer.status < 500) break;
  }
  if (answer.status >= 500 && !scene.isBurstDisturbed)
    scene.history.violate(`${what} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  return answer;
}

export async function send(scene: Scene, userId: string, options: Options, b: number): Promise<void> {
  const { ttl, collapseKey } = options;
  const body = scene.words(options);
  const topic = `@${userId}`;
  const sentAt = scene.world.clock.now();
  const inPerson = () => scene.world.ask('POST', '/websocket/message/user', { body: { userId, ...body }, node: b });
  const answer = await insist(
    scene,
    (attempt) => (attempt > 0 || b % 4 === 0 ? inPerson() : scene.world.tell(b >> 2, userId, body)),
    'a send',
  );
  if (answer.status !== 200) {
    if (collapseKey !== undefined) scene.history.doubtKey(topic, collapseKey);
    return;
  }
  const expiresAt = ttl === undefined ? Number.POSITIVE_INFINITY : sentAt + ttl * 1_000;
  const only = new Set([userId]);
  note(scene, answer, { topic, collapseKey, expiresAt, data: body.data, audience: () => ({ must: only, may: only }) });
}

type About = Omit<Parameters<Scene['history']['note']>[0], 'id' | 'seq'>;

function note(scene: Scene, { body }: Pick<Answer, 'body'>, about: About): void {
  scene.history.note({ id: String(body['id']), seq: Number(body['seq']), ...about });
}

async function sendMany(scene: Scene, userId: string, count: number): Promise<void> {
  const all = Array.from({ length: count }, () => scene.words());
  const body = { messages: all.map((words) => ({ userId, ...words })) };
  const answer = await insist(scene, () => scene.world.ask('POST', '/messages/batch', { body }), 'a batch');
  if (answer.status !== 200) return;
  const only = new Set([userId]);
  const about = { topic: `@${userId}`, collapseKey: undefined, expiresAt: Number.POSITIVE_INFINITY };
  for (const [index, result] of (answer.body['results'] as Answer['body'][]).entries()) {
    if (result['id'] === undefined) continue;
    const data = all[index]?.data;
    note(scene, { body: result }, { ...about, data, audience: () => ({ must: only, may: only }) });
  }
}

export async function say(scene: Scene, topic: string, options: Options, node: number): Promise<void> {
  const body = scene.words(options);
  const path = topic === '*' ? '/websocket/message/broadcast' : `/topics/${topic}/messages`;
  const asking: Asking = { body, node };
  const { known } = scene.attendance;
  const must = new Set(known);
  const answer = await insist(scene, () => scene.world.ask('POST', path, asking), path);
  if (answer.status !== 200) return;
  const without = (users: Iterable<string>) => new Set([...users].filter((user) => user !== options.exceptUserId));
  const audience = (): Audience =>
    topic === '*' ? { must: without(must), may: without(scene.users) } : scene.members.audience();
  const about = { topic, collapseKey: undefined, expiresAt: Number.POSITIVE_INFINITY, data: body.data };
  note(scene, answer, { ...about, audience });
}

/**
 * Many at once whose answers come in another order: gaps beside gaps, each of which is filled without any time passing.
 */
async function sendTogether(scene: Scene, userId: string, b: number): Promise<void> {
  const { world, history, devices } = scene;
  const isCertain = !scene.isDisturbed && world.bus.weather === 'fine' && world.taken('gaps').gaps === 0;
  const here = devices.filter((one) => one.userId === userId && one.isHealthy && one.link?.isSynced === true);
  const before = history.of(`@${userId}`).length;
  world.faults.scatter(b);
  const count = 4 + (b % 7);
  const begun: Promise<void>[] = [];
  for (let index = 0; index < count; index += 1) {
    begun.push(send(scene, userId, {}, b + index));
    // Some share a write of the store, and some do not.
    if ((b >> index) % 2 === 1) await nextTurn();
  }
  await Promise.all(begun);
  await scene.settle();
  scene.noteSteps(count);
  const ids = history
    .of(`@${userId}`)
    .slice(before)
    .map(({ id }) => id);
  for (const device of isCertain ? here : []) {
    const missing = () => ids.filter((id) => !device.got.has(id));
    if (await becomes(() => missing().length === 0 || !device.isHealthy)) continue;
    history.violate(`I1: ${device.label} is connected and has not got ${missing().length} of ${ids.length}`);
  }
}

async function schedule(scene: Scene, userId: string, delay: number): Promise<void> {
  const words = scene.words();
  const body = { userId, ...words, delay };
  const dueAt = scene.world.clock.now() + delay * 1_000;
  const ask = () => scene.world.ask('POST', '/websocket/message/user', { body });
  const { status } = await insist(scene, ask, 'a send for later');
  if (status === 202) scene.waiting.set(words.id, { userId, dueAt, data: words.data });
}

function cancel(scene: Scene, a: number): Promise<void> | undefined {
  const ids = [...scene.waiting.keys()];
  const id = ids[a % Math.max(1, ids.length)];
  if (id === undefined) return undefined;
  return cancelOne(scene, id);
}

async function cancelOne(scene: Scene, id: string): Promise<void> {
  const { status } = await scene.world.ask('DELETE', `/scheduled/${id}`);
  if (status === 404 && scene.waiting.has(id) && !scene.wasDisturbed)
    scene.history.violate(`${id} waits for its time, and nothing of it was found`);
  if (status < 300) scene.waiting.delete(id);
}
