/** The end of a run: everything is repaired, everybody comes back, and the promises are checked. */
import type { Device } from './device';
import { pass } from './disturbing';
import { isOnlyBefore } from './history';
import type { Scene } from './scene';
import { becomes } from './world';

/** Comparisons of heads, of memberships, and the longest pause before a gap is read again. */
const HEALING_MS = [1_100, 3_500, 6_000, 61_000, 3_500, 6_000];
const PATIENCE_MS = 1_000;

interface Item {
  readonly id: string;
  readonly topic: string;
  readonly data: unknown;
  readonly state: string;
}

export async function finish(scene: Scene): Promise<void> {
  const { attendance, devices } = scene;
  scene.calm();
  await attendance.cutGhosts();
  for (const device of devices) {
    device.isPrompt = true;
    if (device.link?.isFrozen === true) await attendance.end(device, 'abruptly');
    if (device.isHealthy) device.acknowledge();
  }
  await scene.settle();
  for (const device of devices) if (device.isHealthy) await attendance.expectSynced(device);
  for (const milliseconds of HEALING_MS) {
    await pass(scene, milliseconds);
    await scene.world.rest();
    await scene.settle();
  }
  for (const device of devices) if (device.isHealthy) await expectDelivered(scene, device, 'is connected');
  await scene.settle();
  scene.wasDisturbed = false;
  for (const [index, device] of devices.entries()) if (!device.isHealthy) await attendance.connect(device, index);
  await scene.settle();
  for (const device of scene.devices) await expectDelivered(scene, device, 'came back');
  await expectNothingOnTheWay(scene);
  for (const userId of scene.users) await judgeInbox(scene, userId);
  for (const device of devices) {
    await attendance.end(device, 'politely');
    await attendance.noticed();
  }
  await judgeLastSeen(scene);
  scene.world.closeSpeakers();
  await expectBalance(scene);
}

async function expectDelivered(scene: Scene, device: Device, when: string): Promise<void> {
  const isFirst = scene.attendance.firstDevices.get(device.userId) === device;
  if (await becomes(() => device.missing(isFirst, scene.members).length === 0, PATIENCE_MS)) return;
  const missing = device.missing(isFirst, scene.members).map(({ topic, seq }) => `${topic} ${seq}`);
  scene.history.violate(`I1: ${device.label} ${when} and misses ${missing.slice(0, 5).join(', ')}`);
}

async function expectNothingOnTheWay(scene: Scene): Promise<void> {
  for (const device of scene.devices) await device.settle();
  const names = ['unacknowledged', 'windowWaiters', 'catchUps'] as const;
  const left = () => Object.entries(scene.world.taken(...names)).filter(([, count]) => count > 0);
  if (await becomes(() => left().length === 0, PATIENCE_MS)) return;
  for (const [name, count] of left()) scene.history.violate(`everything was acknowledged, and ${name} is ${count}`);
}

async function listInbox(scene: Scene, userId: string): Promise<Map<string, Item>> {
  const items = new Map<string, Item>();
  for (const state of ['', '&state=archived']) {
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const { body } = await scene.world.ask('GET', `/inbox?limit=200${state}${page}`, { userId });
      for (const item of body['items'] as Item[]) items.set(item.id, item);
      cursor = (body['nextCursor'] ?? null) as string | null;
    }
  }
  return items;
}

/** The inbox has what it should, and each device shows what the inbox has. */
async function judgeInbox(scene: Scene, userId: string): Promise<void> {
  const { history } = scene;
  const items = await listInbox(scene, userId);
  for (const said of history.messages.values()) {
    if (said.topic !== `@${userId}`) continue;
    const item = items.get(said.id);
    if (said.fate === 'alive' && item === undefined)
      history.violate(`I1: ${said.topic} ${said.seq} is not in the inbox`);
    if (item !== undefined && said.data !== undefined && JSON.stringify(item.data) !== JSON.stringify(said.data))
      history.violate(
        `${said.topic} ${said.seq} was changed to ${JSON.stringify(said.data)}, and is ${JSON.stringify(item.data)}`,
      );
    if (said.fate === 'dead' && items.has(said.id)) history.violate(`${said.topic} ${said.seq} is still in the inbox`);
  }
  for (const device of scene.devices) if (device.userId === userId) await judgeDevice(scene, device, items);
}

async function judgeDevice(scene: Scene, device: Device, items: ReadonlyMap<string, Item>): Promise<void> {
  const differing = () => differencesOf(scene, device, items);
  if (await becomes(() => differing().length === 0, PATIENCE_MS)) return;
  scene.history.violate(`${device.label} shows something else than the inbox: ${differing().slice(0, 3).join('; ')}`);
}

function differencesOf(scene: Scene, device: Device, items: ReadonlyMap<string, Item>): string[] {
  // It cannot know what was sent before it was known, and what may have been lost in transit.
  const since =
    scene.attendance.firstDevices.get(device.userId) === device ? -1 : (device.knownSince ?? Number.POSITIVE_INFINITY);
  return [...items.values()].flatMap(({ id, topic, data, state }) => {
    const said = scene.history.messages.get(id);
    const shown = device.shown.get(id);
    if (said === undefined || said.at <= since || !topic.startsWith('@')) return [];
    const known = device.knownSince ?? 0;
    if (shown === undefined || !device.got.has(id) || (device.name === undefined && device.wasCut)) return [];
    const own = shown.isArchived ? 'archived' : shown.isRead ? 'read' : 'unread';
    const theirs = state === 'archived' || state === 'read' ? state : 'unread';
    if (own !== theirs && !isOnlyBefore(said.changes.isUnread, known))
      return [`${said.topic} ${said.seq} is ${theirs}, shown as ${own}`];
    const isSame = JSON.stringify(shown.data) === JSON.stringify(data);
    return isSame || isOnlyBefore(said.changes.data, known)
      ? []
      : [`${said.topic} ${said.seq} holds ${JSON.stringify(data)}, shown ${JSON.stringify(shown.data)}`];
  });
}

async function judgeLastSeen(scene: Scene): Promise<void> {
  await pass(scene, 1_100);
  await pass(scene, 1_100);
  for (const userId of scene.users) await scene.attendance.judgeLastSeen(userId);
}

async function expectBalance(scene: Scene): Promise<void> {
  if (await becomes(() => scene.world.leaks().length === 0, PATIENCE_MS)) return;
  scene.history.violate(`I6: not given back: ${scene.world.leaks().join(', ')}`);
}
