/**
 * What is between healthy nodes: a node that no longer receives frames (F23), nodes that do not reach each other (F26).
 */
import type { Random } from '../../../support/random';
import { type RedisServer, startRedis } from '../../../support/redis';
import { testToken } from '../../../support/service';
import type { TcpProxy } from '../../../support/tcp-proxy';
import { Findings } from '../../findings';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { type Pair, runWithPair } from '../../pair';
import { CONNECT_PATIENCE_MS } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { runRoundOnNodes, startNodes, startWay, untilLive } from '../../two-nodes';
import { pace, until } from '../../until';
import { flood } from './flood';
import { COMPARED_MS, LOCAL_MS } from './limits';
import { sendWithRedis } from './redis';

const KILLS = 5;
/** A subscriber that lags by this many bytes is cut at once. */
const LAG_BYTES = 2 * 1024 * 1024;
/** More than that, and than the buffers of two kernels hold. */
const FLOOD_BATCHES = 24;
const CUT_PATIENCE_MS = 10_000;

async function runLagging(random: Random): Promise<Outcome> {
  const two = await startNodes();
  return runWithPair(two, async (pair, findings) => {
    await (await pair.say()).far;
    const killedMs = await killSubscriptions(random, { pair, findings, redis: two.redis });
    const [, lagging] = two.nodes;
    await two.redis.command('CONFIG', 'SET', 'client-output-buffer-limit', `"pubsub ${LAG_BYTES} ${LAG_BYTES} 60"`);
    const laggedMs = await lag(lagging, { pair, findings, redis: two.redis, through: two.nodes[0] });
    await Promise.all(two.nodes.map((node) => node.healthy()));
    await sendWithRedis(pair, findings);
    return { 'ms after a cut': Math.round(killedMs), 'ms after a lag': Math.round(laggedMs) };
  });
}

interface Scene {
  readonly pair: Pair;
  readonly findings: Findings;
  readonly redis: RedisServer;
}

/** @returns the longest time until the other node had found what it did not receive. */
async function killSubscriptions(random: Random, { pair, findings, redis }: Scene): Promise<number> {
  const found: Promise<number>[] = [];
  for (let kill = 0; kill < KILLS; kill += 1) {
    const answer = await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    // A subscription that was not back when the next cut came is not counted.
    if (kill === 0) findings.wasTried(answer === ':2\r\n', `of two subscriptions ${answer.trim()} were cut`);
    const { status, near, far } = await pair.say();
    findings.expect(status === 200, `a send was answered ${status}`);
    findings.takesAtMost('delivery on the same node', await near, LOCAL_MS);
    found.push(far);
    await pace(random.integer(0, 200));
  }
  const longest = Math.max(...(await Promise.all(found)));
  findings.takesAtMost('delivery on the other node', longest, COMPARED_MS);
  return longest;
}

/**
 * A node stops while much is published, so that Redis gives up its subscription. @returns as above, since it continued.
 */
async function lag(
  node: ChaosNode,
  { pair, findings, redis, through }: Scene & { through: ChaosNode },
): Promise<number> {
  node.process.child.kill('SIGSTOP');
  await flood(through, FLOOD_BATCHES);
  const said = [await pair.say(), await pair.say(), await pair.say()];
  for (const { near } of said) findings.takesAtMost('delivery on the same node', await near, LOCAL_MS);
  await until(
    'a subscription is cut for lagging',
    CUT_PATIENCE_MS,
    async () => redis.process.lines.some((line) => line.includes('overcoming of output buffer limits')),
    (isCut) => isCut,
  );
  const wokenAt = performance.now();
  node.process.child.kill('SIGCONT');
  for (const { far } of said)
    findings.expect((await far) < Infinity, 'what a node was not told of did not arrive there');
  const milliseconds = performance.now() - wokenAt;
  findings.takesAtMost('delivery on the node that had lagged', milliseconds, COMPARED_MS);
  return milliseconds;
}

const LOAD_MS = 4_000;

/**
 * Each node has its own path to Redis; one is cut and the other one silent, whichever of the two. Then one of them is
 * no longer heard, or does not hear, while the other one is fine.
 */
async function runApart(random: Random): Promise<Outcome> {
  const redis = await startRedis();
  const ways = [await startWay(redis.url), await startWay(redis.url)] as const;
  const [cut, silent] = random.integer(0, 1) === 0 ? ways : [ways[1], ways[0]];
  const findings = new Findings();
  const outcome = await runRoundOnNodes({
    random,
    loadMs: LOAD_MS,
    start: () => startNodes({ redis, envOf: (index) => ({ REDIS_URL: ways[index]?.url ?? '' }) }),
    disturb: async ({ nodes }) => {
      await pace(random.integer(0, 500));
      await part(random, { cut: cut.proxy, silent: silent.proxy, nodes, findings });
      await Promise.all(nodes.map((node) => untilLive(node, 'ok')));
      const impaired = random.integer(0, 1);
      await separateOneWay(random, { nodes, impaired, proxy: ways[impaired]?.proxy ?? cut.proxy, findings });
    },
  });
  return { ...outcome, violations: [...findings.violations, ...outcome.violations] };
}

async function part(
  random: Random,
  parts: { cut: TcpProxy; silent: TcpProxy; nodes: readonly ChaosNode[]; findings: Findings },
): Promise<void> {
  const { cut, silent, nodes, findings } = parts;
  cut.cut();
  await pace(random.integer(0, 500));
  silent.hang();
  await Promise.all(nodes.map((node) => untilLive(node, 'degraded')));
  for (const node of nodes) await expectToServe(node, findings);
  await pace(random.integer(0, 1_000));
  for (const way of random.integer(0, 1) === 0 ? [cut, silent] : [silent, cut]) {
    way.restore();
    await pace(random.integer(0, 500));
  }
}

/**
 * What one node sends is lost, or what it should receive. The other one has nobody left, and is not impaired itself.
 */
async function separateOneWay(
  random: Random,
  parts: { nodes: readonly ChaosNode[]; impaired: number; proxy: TcpProxy; findings: Findings },
): Promise<void> {
  const { nodes, impaired, proxy, findings } = parts;
  const [node, other] = [nodes[impaired], nodes[1 - impaired]];
  if (node === undefined || other === undefined) throw new Error('two nodes are needed');
  const direction = random.integer(0, 1) === 0 ? 'up' : 'down';
  proxy.lose(direction);
  await untilLive(node, 'degraded');
  await expectToServe(node, findings);
  await untilLive(other, 'ok');
  findings.wasTried(proxy.counts.lostBytes[direction] > 0, `nothing was lost on the way ${direction}`);
  await pace(random.integer(0, 500));
  proxy.restore();
}

async function expectToServe({ name, url }: ChaosNode, findings: Findings): Promise<void> {
  const body = { userId: 'nobody', type: 'alone', data: name };
  const token = testToken('alone', { scope: 'send' });
  const options = { method: 'POST', token, body, timeoutMs: CONNECT_PATIENCE_MS } as const;
  const answer = await until(
    `${name} answers`,
    CONNECT_PATIENCE_MS,
    () => request(`${url}/websocket/message/user`, options),
    (given) => given !== undefined,
  );
  findings.expect(answer?.status === 200, `${name} alone answered a send with ${answer?.status}`);
  findings.expect(answer?.body['live'] === 'degraded', `${name} alone said live: ${answer?.body['live']}`);
}

export const BETWEEN: readonly Scenario[] = [
  {
    id: 'F23',
    fault: 'Redis cuts the subscription of a node',
    injected: `CLIENT KILL TYPE pubsub ${KILLS} times; a small client-output-buffer-limit, SIGSTOP of a node, and a flood`,
    expected:
      'what the node did not receive it finds by comparison within 5 s, and it receives frames again afterwards',
    needs: ['mongodb', 'redis'],
    tells: ['ms after a cut', 'ms after a lag'],
    run: runLagging,
  },
  {
    id: 'F26',
    fault: 'nodes do not reach each other',
    injected:
      'a proxy between each node and Redis under a load on both: one resets, one is silent, they overlap; then one loses one direction',
    expected:
      'both serve, and report that they are alone; when they meet again, nothing is lost, duplicated or reordered',
    needs: ['mongodb', 'redis'],
    tells: ['ms until delivered'],
    run: runApart,
  },
];
