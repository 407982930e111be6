/** What happens to existing messages: they are retracted, changed and marked, also by several nodes at once. */
import type { Acts } from './acts';
import type { Said } from './history';
import type { Scene } from './scene';
import { send } from './sending';

const STATES = ['read', 'unread', 'seen', 'unread', 'read', 'unread', 'archived', 'read'] as const;

export const changing: Acts = {
  retract: { weight: 6, begin: (scene, a, b) => withRecent(scene, a, (said) => retract(scene, said, b)) },
  change: { weight: 4, begin: (scene, a, b) => withRecent(scene, a, (said) => change(scene, said, b)) },
  mark: { weight: 9, begin: (scene, a, b) => mark(scene, { userId: scene.user(a), a: a >> 2, b }) },
  race: { weight: 4, begin: (scene, a, b) => withRecent(scene, a, (said) => race(scene, said, b)) },
  raceAfresh: { weight: 4, isAlone: true, begin: raceAfresh },
  replaceInTurn: { weight: 2, isAlone: true, begin: (scene, a, b) => replaceInTurn(scene, scene.user(a), b) },
};

/** What happens to messages with one key: sent, the oldest read or unread, the newest read or retracted. */
type Happening = 'send' | 'read' | 'unread' | 'readNewest' | 'retractNewest';

const CHAINS: readonly (readonly Happening[])[] = [
  ['send', 'read', 'send', 'retractNewest', 'unread', 'send'],
  ['send', 'read', 'send', 'unread', 'send'],
  ['send', 'read', 'send', 'readNewest', 'unread', 'send'],
  ['send', 'send', 'retractNewest', 'send', 'read', 'send', 'unread', 'readNewest', 'send'],
];

function withRecent(scene: Scene, a: number, work: (said: Said) => Promise<unknown> | undefined) {
  const said = scene.recent(a);
  return said === undefined ? undefined : work(said);
}

async function retract(scene: Scene, said: Said, node: number): Promise<void> {
  const { status } = await scene.world.ask('DELETE', `/messages/${said.id}`, { node });
  scene.history.affect(said, 'fate', { value: status < 500 ? 'dead' : 'unsure' });
}

async function change(scene: Scene, said: Said, node: number): Promise<void> {
  const { data } = scene.words();
  const { status } = await scene.world.ask('PATCH', `/messages/${said.id}`, { body: { data }, node });
  scene.history.affect(said, 'data', { value: status === 200 ? data : undefined });
}

function mark(scene: Scene, { userId, a, b }: { userId: string; a: number; b: number }): Promise<void> | undefined {
  const state = STATES[a % STATES.length] ?? 'read';
  const own = scene.history.of(`@${userId}`).filter(({ fate }) => fate === 'alive');
  const recent = own.filter(({ seq }) => seq > 0).slice(-4);
  const chosen = recent[b % Math.max(1, recent.length)];
  if (chosen === undefined) return undefined;
  if (b % 5 !== 0) return setState(scene, { userId, state, node: a >> 2, said: [chosen], ids: [chosen.id] });
  const said = own.filter(({ seq }) => seq <= chosen.seq);
  return setState(scene, { userId, state, node: a >> 2, said, topic: chosen.topic, upTo: chosen.seq });
}

interface Marking {
  readonly userId: string;
  readonly state: string;
  readonly node: number;
  readonly said: readonly Said[];
  readonly ids?: readonly string[];
  readonly topic?: string;
  readonly upTo?: number;
}

async function setState(scene: Scene, { userId, node, said, ...body }: Marking): Promise<void> {
  const { status, body: answer } = await scene.world.ask('PATCH', '/inbox', { body, userId, node });
  // A state that is already set notifies nobody.
  const isEachTold = body.state !== 'seen' && answer['changed'] === said.length;
  // Those that are archived are left out of bulk changes.
  const isBulk = body.upTo !== undefined;
  const isUnread = isBulk || status !== 200 ? undefined : body.state === 'unread';
  for (const each of said) {
    const isTold = isEachTold && (!isBulk || (each.isUnread === true && !each.mayBeArchived));
    each.mayBeArchived ||= body.state === 'archived';
    scene.history.affect(each, 'isUnread', { value: body.state === 'seen' ? each.isUnread : isUnread, isTold });
  }
}

/** Nodes do things to one message at once. */
function race(scene: Scene, said: Said, b: number): Promise<unknown> | undefined {
  if (!said.topic.startsWith('@')) return undefined;
  const userId = said.topic.slice(1);
  const set = (state: string, node: number) => setState(scene, { userId, state, node, said: [said], ids: [said.id] });
  if (b % 2 === 0) return Promise.all([set('read', 0), set('unread', 1), ...(b % 4 === 0 ? [set('read', 1)] : [])]);
  const { collapseKey } = said;
  const replacing = collapseKey === undefined ? [] : [send(scene, userId, { collapseKey }, b >> 3)];
  return Promise.all([change(scene, said, 0), ...replacing, ...(b % 3 === 0 ? [] : [retract(scene, said, 1)])]);
}

/** The same to a message that nothing has happened to yet, and that another one replaces. */
function raceAfresh(scene: Scene, a: number, b: number): Promise<void> | undefined {
  if (scene.world.nodes.length === 1) return undefined;
  const userId = scene.user(a);
  const collapseKey = scene.words().id;
  return scene.inTurn([
    () => send(scene, userId, { collapseKey }, b >> 1),
    async () => {
      const said = scene.history.of(`@${userId}`).findLast((one) => one.collapseKey === collapseKey && one.seq > 0);
      if (said !== undefined)
        await Promise.all([race(scene, said, b), ...(b % 4 === 3 ? [change(scene, said, 1)] : [])]);
    },
  ]);
}

/** Each replaces whichever unread one has its key, whatever has happened to those in between. */
function replaceInTurn(scene: Scene, userId: string, b: number): Promise<void> {
  const collapseKey = scene.words().id;
  const happenNow = (happening: Happening) => {
    const ofKey = scene.history.of(`@${userId}`).filter((said) => said.collapseKey === collapseKey);
    const left = ofKey.filter(({ fate, seq }) => fate === 'alive' && seq > 0);
    return happen(scene, happening, { userId, collapseKey, oldest: left[0], newest: left.at(-1), node: b >> 2 });
  };
  return scene.inTurn((CHAINS[b % CHAINS.length] ?? []).map((happening) => () => happenNow(happening)));
}

interface Keyed {
  readonly userId: string;
  readonly collapseKey: string;
  readonly oldest: Said | undefined;
  readonly newest: Said | undefined;
  readonly node: number;
}

async function happen(scene: Scene, happening: Happening, keyed: Keyed): Promise<void> {
  const { userId, collapseKey, oldest, newest, node } = keyed;
  if (happening === 'send') return send(scene, userId, { collapseKey }, node);
  const said = happening === 'read' || happening === 'unread' ? oldest : newest;
  if (said === undefined) return;
  if (happening === 'retractNewest') return retract(scene, said, node);
  const state = happening === 'unread' ? 'unread' : 'read';
  await setState(scene, { userId, state, node, said: [said], ids: [said.id] });
}
