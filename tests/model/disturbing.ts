/** What happens around the service: time passes, store calls fail, and frames between nodes are lost or late. */
import type { Acts } from './acts';
import type { Call } from './faulty-store';
import type { Scene } from './scene';

const FAILING = [
  'log.read',
  'devices.open',
  'log.head',
  'inbox.counted',
  'devices.saveCursors',
  'log.append',
  'inbox.changeStates',
  'users.saveLastSeen',
] as const;
const PASSING_MS = [0, 300, 1_100, 3_500, 11_000, 61_000] as const;
const WEATHERS = ['losing', 'late', 'down'] as const;

export const disturbing: Acts = {
  pass: { weight: 8, isAlone: true, begin: (scene, a) => pass(scene, PASSING_MS[a % PASSING_MS.length] ?? 0) },
  leaveInFlush: { weight: 3, isAlone: true, begin: leaveInFlush },
  fail: { weight: 3, begin: fail },
  lose: { weight: 2, begin: lose },
  scatter: { weight: 3, begin: async (scene, _a, b) => scene.world.faults.scatter(b) },
  weather: { weight: 4, begin: weather },
  calm: { weight: 4, begin: async (scene) => scene.calm() },
};

export async function pass(scene: Scene, milliseconds: number): Promise<void> {
  const { world, history, devices } = scene;
  await world.pass(milliseconds);
  const now = world.clock.now();
  history.expire(now);
  await Promise.all(devices.map((device) => device.settle()));
  for (const [id, { userId, dueAt, data }] of scene.waiting) {
    if (dueAt > now) continue;
    scene.waiting.delete(id);
    const only = new Set([userId]);
    const audience = () => ({ must: only, may: only });
    const about = { topic: `@${userId}`, collapseKey: undefined, expiresAt: Number.POSITIVE_INFINITY };
    history.note({ ...about, id, seq: 0, data, audience });
  }
}

async function fail(scene: Scene, a: number, b: number): Promise<void> {
  scene.disturb();
  scene.world.faults.fail(FAILING[a % FAILING.length] as Call, 1 + (b % 2));
}

/** Only the embedded engine always answers what it has stored. */
function lose(scene: Scene): Promise<void> | undefined {
  const { nodes, options, faults } = scene.world;
  if (nodes.length === 1 && options.engine === 'lmdb') return undefined;
  scene.disturb();
  faults.lose('log.append');
  return Promise.resolve();
}

function weather(scene: Scene, a: number): Promise<void> | undefined {
  if (scene.world.nodes.length === 1) return undefined;
  scene.world.bus.set(WEATHERS[a % WEATHERS.length] ?? 'losing');
  return Promise.resolve();
}

/** A user leaves during a cursor write. */
function leaveInFlush(scene: Scene, a: number): Promise<void> | undefined {
  // Late frames arrive in any order: who is online is certain again only after a comparison.
  if (scene.world.bus.weather !== 'fine') return undefined;
  const device = scene.take(a, ({ link }) => link !== undefined);
  if (device === undefined) return undefined;
  return (async () => {
    scene.world.faults.hold('users.saveLastSeen');
    await scene.world.pass(1_100);
    await scene.attendance.end(device, 'abruptly');
    await scene.attendance.noticed();
    scene.calm();
    await pass(scene, 1_100);
    await scene.attendance.judgeLastSeen(device.userId);
  })();
}
