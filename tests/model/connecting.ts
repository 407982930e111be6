/** Connections come and go: politely, by a reset, silently, because a token was revoked, or without ever opening. */
import type { Acts } from './acts';
import type { Device } from './device';
import { resetAfter, resetTogether, withoutKey } from './doors';
import type { Scene } from './scene';
import { becomes } from './world';

const isLinked = ({ link }: Device) => link !== undefined;
const STRANGERS = 3;
const CROWD = 6;
/** How long an admitted handshake takes: more than a turn of the loop allows. */
const HANDSHAKE_MS = 11;
const TICK_MS = 100;

export const connecting: Acts = {
  connect: { weight: 14, begin: connect },
  close: { weight: 5, begin: (scene, a) => end(scene, a, 'politely') },
  reset: { weight: 4, begin: (scene, a) => end(scene, a, 'abruptly') },
  freeze: { weight: 4, begin: freeze },
  acknowledge: { weight: 5, begin: acknowledge },
  hesitate: { weight: 3, begin: hesitate },
  knock: { weight: 3, begin: knock },
  crowd: { weight: 2, isAlone: true, begin: crowd },
  revoke: { weight: 1, isAlone: true, begin: (scene, a, b) => revoke(scene, scene.user(a), b) },
};

function connect(scene: Scene, a: number, b: number): Promise<void> | undefined {
  const device = scene.take(a, (one) => !one.isHealthy);
  return device === undefined ? undefined : scene.attendance.connect(device, b);
}

function end(scene: Scene, a: number, how: 'politely' | 'abruptly'): Promise<void> | undefined {
  const device = scene.take(a, isLinked);
  return device === undefined ? undefined : scene.attendance.end(device, how);
}

function freeze(scene: Scene, a: number): Promise<void> | undefined {
  const device = scene.take(a, (one) => one.isHealthy);
  if (device === undefined) return undefined;
  return device.settle().then(() => device.link?.freeze());
}

function acknowledge(scene: Scene, a: number): Promise<void> | undefined {
  const device = scene.take(a, (one) => one.isHealthy && !one.isPrompt);
  if (device === undefined) return undefined;
  device.acknowledge();
  return device.acknowledged();
}

async function hesitate(scene: Scene, a: number): Promise<void> {
  const device = scene.devices[a % scene.devices.length] as Device;
  device.isPrompt = !device.isPrompt;
}

/** Strangers at the doors. */
async function knock(scene: Scene, a: number, b: number): Promise<void> {
  const { nodes } = scene.world;
  const { port = 0 } = nodes[b % nodes.length] ?? {};
  scene.attendance.strangers += STRANGERS;
  const isEngine = a % 2 === 0;
  if (a % 3 === 0) await withoutKey(port, isEngine);
  else
    await Promise.all(
      Array.from({ length: STRANGERS }, (_none, index) => resetAfter(port, { isEngine, turns: (b + index) % 4 })),
    );
}

/** Handshakes come faster than they are admitted, and some of those that wait are gone when it is their turn. */
async function crowd(scene: Scene, a: number, b: number): Promise<void> {
  const { nodes, clock } = scene.world;
  const { port = 0 } = nodes[b % nodes.length] ?? {};
  scene.attendance.strangers += CROWD;
  clock.perLook = HANDSHAKE_MS;
  const leaving = Array.from({ length: CROWD }, (_none, index) => ({
    isEngine: (a + index) % 2 === 0,
    turns: (b + index) % CROWD,
  }));
  await resetTogether(port, leaving);
  await scene.attendance.noticed();
  clock.perLook = 0;
}

/** A connection with an earlier token is closed, on all nodes, and comes back with a new one. */
async function revoke(scene: Scene, userId: string, node: number): Promise<void> {
  const { attendance, world, history, devices } = scene;
  await attendance.cutGhosts();
  const own = devices.filter((device) => device.userId === userId);
  for (const device of own) if (device.link?.isFrozen === true) await attendance.end(device, 'abruptly');
  // A token and a revocation of the same second cannot be distinguished.
  await scene.world.pass(1_100);
  const links = own.flatMap(({ link }) => (link === undefined || link.isEnded ? [] : [link]));
  const status = await whileTimePasses(
    scene,
    world.ask('POST', `/users/${userId}/revoke`, { node }).then((answer) => answer.status),
  );
  if (status >= 300) history.violate(`revoking answered ${status}`);
  if (world.bus.weather === 'fine')
    await expectClosed(
      scene,
      links.map((link) => () => link.isEnded),
    );
  await attendance.sweep();
  await attendance.noticed();
  await world.pass(1_100);
  await expectClosed(
    scene,
    links.map((link) => () => link.isEnded),
  );
  world.renewToken(userId);
  attendance.forgetEnd(userId);
}

/** An unreachable node is awaited; if no time passed, that would be for ever. */
async function whileTimePasses<Result>({ world }: Scene, asking: Promise<Result>): Promise<Result> {
  let isOver = world.bus.weather === 'fine';
  const waiting = asking.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await world.rest();
    await world.pass(TICK_MS);
  }
  return waiting;
}

async function expectClosed(scene: Scene, ended: readonly (() => boolean)[]): Promise<void> {
  if (await becomes(() => ended.every((isEnded) => isEnded()))) return;
  scene.history.violate('I4: connections stay whose token was revoked');
}
