/**
 * One round of chaos: two nodes on one MongoDB and one Redis, people connected to either, services that send through
 * either, and faults at random moments. When all is healthy again everybody has everything, once and in order.
 */
import { MongoClient } from 'mongodb';
import { newDatabase } from '../support/cluster';
import { seededRandom } from '../support/random';
import { type RedisServer, startRedis } from '../support/redis';
import { testToken } from '../support/service';
import { type Case, type Held, judge } from './checker';
import { keyIn, ReconnectingDevice } from './device';
import { carryOut, describeFault, planFaults } from './faults';
import { type DeviceOf, History, nameOf, type Place } from './history';
import { request } from './http';
import { Load } from './load';
import { ChaosNode } from './node';
import { pace, until } from './until';

const TOPIC = 'chaos';
const MEMBERS = ['anna', 'ben', 'carla'];
const DEVICES: readonly DeviceOf[] = [
  { userId: 'anna', device: 'phone' },
  { userId: 'anna', device: 'laptop' },
  { userId: 'ben', device: 'phone' },
  { userId: 'carla', device: undefined },
  { userId: 'dan', device: 'phone' },
  { userId: 'dan', device: 'tablet' },
  { userId: 'eve', device: 'phone' },
  { userId: 'finn', device: 'phone' },
];
const USERS = [...new Set(DEVICES.map(({ userId }) => userId))];
const TOPICS = ['*', TOPIC, ...USERS.map((userId) => `@${userId}`)];

const CONNECT_PATIENCE_MS = 15_000;
/** Longer than the minute for which the key of a killed node stays taken. */
const ANSWER_PATIENCE_MS = 90_000;
const DELIVERY_PATIENCE_MS = 20_000;
/** After it only what was begun by a killed node is unanswered. Longer than one try. */
const LEFTOVER_MS = 1_600;
const INBOX_PAGE = 200;

export interface RoundOptions {
  readonly name: string;
  readonly loadMs: number;
  /**
   * Wait until the keys that a killed node was working on are free by themselves, a minute after its end? Otherwise
   * their time is moved on in the database.
   */
  readonly waitsForLeases?: boolean;
}

export interface RoundReport {
  readonly seed: number;
  readonly sends: number;
  readonly tries: number;
  readonly deliveries: number;
  readonly connections: number;
  readonly faults: readonly string[];
  /** How long it took, once the last fault was over, until all was healthy, answered, delivered. */
  readonly recovery: Recovery;
  /** Sentences; none: all is well. */
  readonly violations: readonly string[];
  /** For whoever looks into a violation. */
  readonly evidence: { readonly history: History; readonly logs: Readonly<Record<string, readonly string[]>> };
}

/** Milliseconds since the last fault was over; those of a stage that was not reached are missing. */
export type Recovery = Partial<Record<'healthy' | 'answered' | 'delivered', number>>;

interface Setting {
  readonly history: History;
  readonly nodes: readonly ChaosNode[];
  readonly devices: readonly ReconnectingDevice[];
  readonly load: Load;
  readonly storeUrl: string;
  readonly redis: RedisServer;
  /** Are the last messages sent while Redis is down? */
  readonly endsWithoutRedis: boolean;
  /** Notes that a stage of the recovery is reached. */
  readonly reach: (stage: keyof Recovery) => void;
}

export async function runRound({ name, loadMs, waitsForLeases = false }: RoundOptions): Promise<RoundReport> {
  const random = seededRandom(name);
  const faults = planFaults(random, loadMs);
  const endsWithoutRedis = random.integer(1, 3) === 1;
  const redis = await startRedis();
  const { storeUrl, nodes } = await startTwo(redis.url);
  const urls = nodes.map(({ url }) => url);
  await createTopic(urls[0] ?? '');
  const history = new History();
  const devices = DEVICES.map((device, first) => new ReconnectingDevice({ ...device, urls, first, history }));
  await Promise.all(devices.map((device) => device.open(CONNECT_PATIENCE_MS)));
  const load = new Load({ urls, history, random, userIds: USERS, topic: TOPIC });

  load.start();
  // The load ends with faults still going on: the last message of a topic shows nobody that the one before is missing.
  await Promise.all([pace(loadMs).then(() => load.stop()), carryOut(faults, { nodes, redis })]);
  const calmAt = performance.now();
  const recovery: Recovery = {};
  const reach = (stage: keyof Recovery) => {
    recovery[stage] = Math.round(performance.now() - calmAt);
  };
  const setting = { history, nodes, devices, load, storeUrl, redis, endsWithoutRedis, reach };
  const violations = await conclude(setting, waitsForLeases).catch((error: unknown) => [String(error)]);
  for (const device of devices) device.close();
  for (const node of nodes) node.over();
  return {
    seed: random.seed,
    sends: load.count,
    tries: history.tries.length,
    deliveries: history.deliveries.length,
    connections: devices.reduce((sum, { connections }) => sum + connections, 0),
    faults: [...faults.map(describeFault), ...(endsWithoutRedis ? ['redis at the end'] : [])],
    recovery,
    violations: [...violations, ...nodes.flatMap((node) => node.violations)],
    evidence: { history, logs: Object.fromEntries(nodes.map((node) => [node.name, node.log])) },
  };
}

/** Two nodes that reach each other, on a database of their own. */
export async function startTwo(redisUrl: string): Promise<{ storeUrl: string; nodes: ChaosNode[] }> {
  const storeUrl = newDatabase();
  const names = ['node-1', 'node-2'];
  const nodes = await Promise.all(names.map((name) => ChaosNode.start({ name, storeUrl, redisUrl })));
  await Promise.all(nodes.map((node) => node.healthy()));
  return { storeUrl, nodes };
}

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

/** All is healthy again: everything gets its answer, everybody gets everything, and the history is judged. */
async function conclude(setting: Setting, waitsForLeases: boolean): Promise<string[]> {
  const { history, nodes, devices, load, reach } = setting;
  await Promise.all([...nodes.map((node) => node.healthy()), Promise.race([load.answered(), pace(LEFTOVER_MS)])]);
  reach('healthy');
  if (!waitsForLeases) await endLeases(setting);
  await load.settle(ANSWER_PATIENCE_MS);
  reach('answered');
  const named = devices.filter(({ device }) => device !== undefined);
  const late = await findLate(named, history);
  await sayLastWords(setting);
  late.push(...(await findLate(devices, history)));
  reach('delivered');
  return [...late, ...judge({ history, devices, recipientsOf, held: await readInboxes(nodes) })];
}

/**
 * One more to each topic: a client without a name may have lost what its last connection was about to write, and shows
 * that it gets what comes. While Redis is down other nodes find it only by comparing heads: nothing comes after it.
 */
async function sayLastWords({ load, redis, endsWithoutRedis }: Setting): Promise<void> {
  if (endsWithoutRedis) await redis.kill();
  for (const topic of TOPICS) load.send(topic);
  await load.settle(ANSWER_PATIENCE_MS);
  if (endsWithoutRedis) await redis.start();
}

async function findLate(devices: readonly ReconnectingDevice[], history: History): Promise<string[]> {
  const late = await Promise.all(devices.map((device) => findMissing(device, history)));
  return late.flat();
}

/** What a device should have and has not: too late is a fault, even when nothing is lost. */
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

/**
 * What a killed node was working on stays taken for a minute: lets that be over now. A send that is under way on a node
 * that lives loses its claim as well, as it would after a long stop, and is to be one message all the same.
 */
async function endLeases({ storeUrl, load }: Setting): Promise<void> {
  if (load.unanswered === 0) return;
  const client = new MongoClient(storeUrl);
  await client
    .db()
    .collection('answers')
    .updateMany({ status: { $exists: false } }, { $set: { freeAt: 0 } });
  await client.close();
}

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

async function readInbox(url: string, userId: string): Promise<Held[]> {
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

/** Kills one of two nodes for good. Resolves to how long the other one still listed its user. */
export async function timeUntilForgotten(patienceMs: number): Promise<number> {
  const redis = await startRedis();
  const { nodes } = await startTwo(redis.url);
  const [gone, left] = nodes;
  if (gone === undefined || left === undefined) throw new Error('two nodes are needed');
  const history = new History();
  const there = [gone, left].map(({ url }, index) => {
    return new ReconnectingDevice({ userId: `user ${index}`, device: 'phone', urls: [url], first: 0, history });
  });
  await Promise.all(there.map((device) => device.open(CONNECT_PATIENCE_MS)));
  const token = testToken('watcher', { scope: 'presence' });
  const listed = () => request(`${left.url}/websocket/users/connected`, { token });
  const lists = (count: number) => (answer: Awaited<ReturnType<typeof listed>>) => answer?.body['count'] === count;
  await until('both are listed', CONNECT_PATIENCE_MS, listed, lists(2));
  await gone.end();
  const killedAt = performance.now();
  await until('the user of the killed node is gone', patienceMs, listed, lists(1));
  return performance.now() - killedAt;
}
