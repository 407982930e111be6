/** Who is in the topic: users join and leave, by REST or over their own connections, and it is deleted and made again. */
import type { Acts } from './acts';
import type { Scene } from './scene';
import { insist } from './sending';
import type { Answer } from './world';

export const joining: Acts = {
  join: { weight: 4, begin: (scene, a, b) => move(scene, { userId: scene.user(a), node: b, isIn: true }) },
  leave: { weight: 3, begin: (scene, a, b) => move(scene, { userId: scene.user(a), node: b, isIn: false }) },
  renewTopic: {
    weight: 1,
    isAlone: true,
    begin: (scene, _a, b) => renew(scene, b),
  },
};

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
