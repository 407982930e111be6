/**
 * Who is a member of the topic: users join and leave, by REST or over their own connections, and it is deleted and
 * created again.
 */
import type { Acts } from './acts';
import type { Device } from './device';
import { pass } from './disturbing';
import type { Scene } from './scene';
import { insist, say } from './sending';
import { type Answer, becomes } from './world';

export const joining: Acts = {
  join: { weight: 4, begin: (scene, a, b) => move(scene, { userId: scene.user(a), node: b, isIn: true }) },
  leave: { weight: 3, begin: (scene, a, b) => move(scene, { userId: scene.user(a), node: b, isIn: false }) },
  renewTopic: {
    weight: 1,
    isAlone: true,
    begin: (scene, _a, b) => renew(scene, b),
  },
  comeBack: { weight: 2, isAlone: true, begin: comeBack },
  moveUnheard: { weight: 3, isAlone: true, begin: moveUnheard },
};

/** What is read to compare memberships. */
const COMPARING = ['log.read', 'log.head', 'devices.open'] as const;
const COMPARED_MS = 3_500;

interface Moving {
  readonly userId: string;
  readonly node: number;
  readonly isIn: boolean;
}

async function move(scene: Scene, { userId, node, isIn }: Moving): Promise<void> {
  const path = `/topics/${scene.topic}/members`;
  const byRest = () =>
    isIn
      ? scene.world.ask('POST', path, { userId, node, body: {} })
      : scene.world.ask('DELETE', `${path}/${userId}`, { userId, node });
  const ask = (attempt: number) =>
    attempt > 0 || node % 3 === 0 ? byRest() : (bySocket(scene, userId, isIn) ?? byRest());
  const { status } = await insist(scene, ask, isIn ? 'joining' : 'leaving');
  if (status >= 500) scene.members.move(userId, 'unsure');
  else scene.members.move(userId, isIn && status < 300 ? 'in' : 'out');
}

function bySocket(scene: Scene, userId: string, isIn: boolean): Promise<Answer> | undefined {
  const device = scene.devices.find((one) => one.userId === userId && one.isHealthy && one.link?.isIn === true);
  if (device?.link === undefined) return undefined;
  const { transport, link } = device;
  if (transport === 'plain') return link.ask(isIn ? 'subscribe' : 'unsubscribe', { topic_name: scene.topic });
  return link.ask(isIn ? 'topic:join' : 'topic:leave', { name: scene.topic });
}

async function renew(scene: Scene, node: number): Promise<void> {
  const path = `/topics/${scene.topic}`;
  const gone = await insist(scene, () => scene.world.ask('DELETE', path, { node }), 'deleting a topic');
  const made = await insist(
    scene,
    () => scene.world.ask('POST', '/topics', { body: { name: scene.topic }, node: node >> 1 }),
    'making a topic again',
  );
  if (made.status >= 300 && gone.status < 300 && !scene.isBurstDisturbed)
    scene.history.violate(`${scene.topic} could not be made again: ${made.status}`);
  scene.members.clear();
  scene.history.forget(scene.topic);
}

/** An offline user leaves the topic and comes back to it, and something is sent before, between and after that. */
function comeBack(scene: Scene, a: number, b: number): Promise<void> | undefined {
  const device = scene.take(a, ({ name, knownSince }) => name !== undefined && knownSince !== undefined);
  if (device === undefined) return undefined;
  const { userId } = device;
  const speak = () => say(scene, scene.topic, {}, b);
  return scene.inTurn([
    () => scene.attendance.end(device, b % 2 === 0 ? 'politely' : 'abruptly'),
    ...(scene.members.has(userId) ? [] : [() => move(scene, { userId, node: b, isIn: true })]),
    speak,
    () => move(scene, { userId, node: b >> 1, isIn: false }),
    ...(b % 3 === 0 ? [] : [speak]),
    () => move(scene, { userId, node: b >> 2, isIn: true }),
    speak,
  ]);
}

/** The members change on another node that is not heard, and reads fail when memberships are compared. */
function moveUnheard(scene: Scene, a: number, b: number): Promise<void> | undefined {
  const { bus, faults, nodes } = scene.world;
  const isFit = ({ isHealthy, link }: Device) => isHealthy && link?.isSynced === true;
  const device = nodes.length === 1 ? undefined : scene.take(a, isFit);
  if (device === undefined) return undefined;
  const { userId, node } = device;
  const isIn = !scene.members.has(userId);
  // Over REST: a device would notify its own node.
  const elsewhere = node === 0 ? 3 : 0;
  bus.set('losing');
  return scene.inTurn([
    () => move(scene, { userId, node: elsewhere, isIn }).finally(() => bus.clear()),
    // This is heard: what fails below is the read for a new member.
    () => say(scene, scene.topic, {}, elsewhere),
    async () => {
      scene.disturb();
      faults.fail(COMPARING[b % COMPARING.length] ?? 'log.read', 1 + ((b >> 2) % 3));
      await pass(scene, COMPARED_MS);
      await scene.world.rest();
      scene.calm();
    },
    () => pass(scene, COMPARED_MS),
    () => say(scene, scene.topic, {}, elsewhere),
    async () => expectSaid(scene, device),
  ]);
}

/** A member has received what was last sent to the topic. */
async function expectSaid(scene: Scene, { label, userId, got, link }: Device): Promise<void> {
  const last = scene.history.of(scene.topic).at(-1);
  const isMeant = last?.fate === 'alive' && last.must.has(userId) && scene.world.bus.weather === 'fine';
  if (last === undefined || !isMeant) return;
  if (await becomes(() => got.has(last.id) || link?.isEnded === true)) return;
  scene.history.violate(`I1: ${label} is connected and in ${scene.topic}, and has not got ${last.seq}`);
}
