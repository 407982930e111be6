/**
 * One round of chaos: nodes of one service, people connected to any of them, services that send through any of them,
 * and a fault meanwhile. When all is healthy again, everybody has everything, once and in order.
 */
import type { Random } from '../support/random';
import { testToken } from '../support/service';
import { type Case, type Held, judge } from './checker';
import { keyIn, ReconnectingDevice } from './device';
import { type DeviceOf, History, nameOf, type Place } from './history';
import { request } from './http';
import type { Way } from './line';
import { Load } from './load';
import type { ChaosNode } from './node';
import type { Figures, Outcome } from './scenario';
import { withSlack } from './slack';
import { pace } from './until';

interface RoundDevice extends DeviceOf {
  readonly way: Way;
}

const TOPIC = 'chaos';
const MEMBERS = ['anna', 'ben', 'carla'];
const DEVICES: readonly RoundDevice[] = [
  { userId: 'anna', device: 'phone', way: 'websocket' },
  { userId: 'anna', device: 'laptop', way: 'plain' },
  { userId: 'ben', device: 'phone', way: 'plain' },
  { userId: 'carla', device: undefined, way: 'websocket' },
  { userId: 'dan', device: 'phone', way: 'websocket' },
  { userId: 'dan', device: 'tablet', way: 'polling' },
  { userId: 'eve', device: 'phone', way: 'polling' },
  { userId: 'finn', device: undefined, way: 'plain' },
];
const USERS = [...new Set(DEVICES.map(({ userId }) => userId))];
const TOPICS = ['*', TOPIC, ...USERS.map((userId) => `@${userId}`)];

export const CONNECT_PATIENCE_MS = 30_000;
/** Longer than the minute for which the key of a killed node stays taken. */
const ANSWER_PATIENCE_MS = 90_000;
const DELIVERY_PATIENCE_MS = withSlack(20_000);
/** After it, only requests that a killed node had begun are unanswered. Longer than one attempt. */
const LEFTOVER_MS = 1_600;
const INBOX_PAGE = 200;

/** What was started and its results, for those who inject faults. */
export interface Stage {
  readonly history: History;
  readonly load: Load;
  readonly devices: readonly ReconnectingDevice[];
}

export interface RoundParts {
  readonly random: Random;
  /** Healthy now, and again when `disturb` has resolved. */
  readonly nodes: readonly ChaosNode[];
  /** Where people connect; the nodes themselves by default. */
  readonly clientUrls?: readonly string[];
  /** Where services send; the nodes themselves by default. */
  readonly loadUrls?: readonly string[];
  /** Connected in addition to those of every round. */
  readonly moreDevices?: readonly RoundDevice[];
  /** Do connections break with something in flight? See checker.ts. */
  readonly hasLostBuffers?: boolean;
  /** The load lasts this long, whatever goes wrong meanwhile. */
  readonly loadMs: number;
  /** Injects faults during the load, and resolves when nothing is wrong any more. */
  readonly disturb: (stage: Stage) => Promise<void>;
  /** Called when all is healthy, before the last answers are awaited. */
  readonly beforeAnswers?: (stage: Stage) => Promise<void>;
  /** Called around the last message of each topic: what is wrong when nothing comes after it. */
  readonly atTheEnd?: (sayLastWords: () => Promise<void>) => Promise<void>;
  readonly figures?: Figures;
}

/** Sends that a round must have made, otherwise it would prove nothing. */
const MIN_SENDS = 100;

export async function runRound(parts: RoundParts): Promise<Outcome> {
  const { nodes, random, clientUrls, moreDevices = [] } = parts;
  const urls = nodes.map(({ url }) => url);
  await createTopic(urls[0] ?? '');
  const history = new History();
  const places = clientUrls ?? urls;
  const all = [...DEVICES, ...moreDevices];
  const devices = all.map((device, first) => new ReconnectingDevice({ ...device, urls: places, first, history }));
  await Promise.all(devices.map((device) => device.open(CONNECT_PATIENCE_MS)));
  const load = new Load({ urls: parts.loadUrls ?? urls, history, random, userIds: USERS, topic: TOPIC });
  const stage = { history, load, devices };

  load.start();
  const recovery: Record<string, number> = {};
  const violations = await goThrough(stage, parts, recovery).catch((error: unknown) => [String(error)]);
  load.stop();
  load.giveUp();
  for (const device of devices) device.close();
  for (const node of nodes) violations.push(...(await node.findTaken()));
  const ends = await Promise.all(nodes.map((node) => node.conclude()));
  if (load.count < MIN_SENDS) violations.push(`nothing was tried: ${load.count} sends`);
  if (history.deliveries.length <= load.count) violations.push('nothing was tried: fewer deliveries than sends');
  return {
    violations: [...violations, ...ends.flat()],
    figures: {
      sends: load.count,
      tries: history.tries.length,
      deliveries: history.deliveries.length,
      connections: devices.reduce((sum, { connections }) => sum + connections, 0),
      ...recovery,
      ...parts.figures,
    },
    evidence: { history, logs: Object.fromEntries(nodes.map((node) => [node.name, node.log])) },
  };
}

/** The load with its faults, and the recovery. Notes how long that takes. */
async function goThrough(stage: Stage, parts: RoundParts, recovery: Record<string, number>): Promise<string[]> {
  // The load ends with faults still in progress: the last message of a topic shows nobody that the one before is
  // missing.
  await Promise.all([pace(parts.loadMs).then(() => stage.load.stop()), parts.disturb(stage)]);
  const calmAt = performance.now();
  return conclude(stage, parts, (what) => {
    recovery[`ms until ${what}`] = Math.round(performance.now() - calmAt);
  });
}

/** Notes that a stage of the recovery is reached. */
type Reach = (stage: 'healthy' | 'answered' | 'delivered') => void;

async function createTopic(url: string): Promise<void> {
  const [owner = '', ...others] = MEMBERS;
  const options = { method: 'POST', token: testToken(owner), timeoutMs: CONNECT_PATIENCE_MS } as const;
  await expectAnswer(`${url}/topics`, { ...options, body: { name: TOPIC, isPrivate: true } });
  for (const userId of others) await expectAnswer(`${url}/topics/${TOPIC}/members`, { ...options, body: { userId } });
}

async function expectAnswer(...[url, options]: Parameters<typeof request>): Promise<Record<string, unknown>> {
  const answer = await request(url, options);
  if (answer === undefined || answer.status >= 300) throw new Error(`${url} answered ${JSON.stringify(answer)}`);
  return answer.body;
}

/** All is healthy again: everything is answered, everybody receives everything, and the history is checked. */
async function conclude(stage: Stage, parts: RoundParts, reach: Reach): Promise<string[]> {
  const { history, devices, load } = stage;
  const { nodes, beforeAnswers, hasLostBuffers = false, atTheEnd = (sayLastWords) => sayLastWords() } = parts;
  await Promise.all([...nodes.map((node) => node.healthy()), Promise.race([load.answered(), pace(LEFTOVER_MS)])]);
  reach('healthy');
  await beforeAnswers?.(stage);
  await load.settle(ANSWER_PATIENCE_MS);
  reach('answered');
  const named = devices.filter(({ device }) => device !== undefined);
  const late = await findLate(named, history);
  await atTheEnd(() => sayLastWords(load));
  late.push(...(await findLate(devices, history)));
  reach('delivered');
  return [...late, ...judge({ history, devices, recipientsOf, held: await readInboxes(nodes), hasLostBuffers })];
}

/**
 * One more for each topic: a client without a name may have lost what its last connection was about to write, and shows
 * that it receives what follows.
 */
async function sayLastWords(load: Load): Promise<void> {
  for (const topic of TOPICS) load.send(topic);
  await load.settle(ANSWER_PATIENCE_MS);
}

async function findLate(devices: readonly ReconnectingDevice[], history: History): Promise<string[]> {
  const late = await Promise.all(devices.map((device) => findMissing(device, history)));
  return late.flat();
}

/** What a device should have and has not: being late is a fault, even when nothing is lost. */
async function findMissing(device: ReconnectingDevice, { accepted }: History): Promise<string[]> {
  const lasts = new Map<string, Place>();
  for (const place of accepted) {
    const isTheirs = recipientsOf(place.topic).includes(device.userId);
    if (isTheirs && place.seq > (lasts.get(place.topic)?.seq ?? 0)) lasts.set(place.topic, place);
  }
  const missing = await device.missing([...lasts.values()], DELIVERY_PATIENCE_MS);
  return missing.map(
    ({ topic, seq }) => `late: ${nameOf(device)} has not got up to ${topic} ${seq} in ${DELIVERY_PATIENCE_MS} ms`,
  );
}

const recipientsOf: Case['recipientsOf'] = (topic) => {
  if (topic === '*') return USERS;
  if (topic === TOPIC) return MEMBERS;
  return USERS.filter((userId) => topic === `@${userId}`);
};

async function readInboxes(nodes: readonly ChaosNode[]): Promise<Map<string, Held[]>> {
  const held = new Map<string, Held[]>();
  for (const [index, userId] of USERS.entries()) {
    held.set(userId, await readInbox(nodes[index % nodes.length]?.url ?? '', userId));
  }
  return held;
}

interface InboxPage {
  readonly items: readonly (Place & { readonly data: unknown })[];
  readonly nextCursor: string | null;
}

/** The whole inbox of a user. */
export async function readInbox(url: string, userId: string): Promise<Held[]> {
  const held: Held[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const path: string = `${url}/inbox?limit=${INBOX_PAGE}${cursor && `&cursor=${cursor}`}`;
    const options = { token: testToken(userId), timeoutMs: CONNECT_PATIENCE_MS };
    const page = (await expectAnswer(path, options)) as unknown as InboxPage;
    held.push(...page.items.map(({ id, topic, seq, data }) => ({ id, topic, seq, key: keyIn(data) })));
    cursor = page.nextCursor;
  }
  return held;
}
