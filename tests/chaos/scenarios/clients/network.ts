/**
 * What networks do to connections during normal work: they break in the middle of a frame, tear, delay, fall silent.
 */
import type { Random } from '../../../support/random';
import { startTcpProxy, type TcpProxy, type Toxics } from '../../../support/tcp-proxy';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { runRound } from '../../round';
import type { Figures, Outcome, Scenario } from '../../scenario';
import { pace } from '../../until';

const LOAD_MS = 2_000;

/** A round in which everything goes through proxies: what people receive, and what services send. */
interface NetworkRound {
  readonly random: Random;
  readonly node: ChaosNode;
  readonly proxies: readonly TcpProxy[];
  readonly disturb: () => Promise<void>;
  /** What the proxies have done, in words; and what they have not although it was planned. */
  readonly told: () => { readonly figures: Figures; readonly violations: readonly string[] };
}

async function runNetworkRound({ random, node, proxies, disturb, told }: NetworkRound): Promise<Outcome> {
  const urls = proxies.map(({ url }) => url);
  const outcome = await runRound({
    random,
    nodes: [node],
    clientUrls: urls,
    loadUrls: urls,
    loadMs: LOAD_MS,
    disturb,
    hasLostBuffers: true,
  });
  const { figures, violations } = told();
  return {
    ...outcome,
    violations: [...outcome.violations, ...violations],
    figures: { ...outcome.figures, ...figures },
  };
}

function proxyTo(node: ChaosNode, random: Random): Promise<TcpProxy> {
  return startTcpProxy({ host: '127.0.0.1', port: Number(new URL(node.url).port) }, random);
}

function none(what: string, count: number): string[] {
  return count > 0 ? [] : [`nothing was tried: no ${what}`];
}

const RESETS = 6;

/**
 * All current connections break in the middle of what is sent next: either what the node sends, or what clients send.
 */
async function runReset(random: Random): Promise<Outcome> {
  const node = await startOne();
  const proxy = await proxyTo(node, random);
  const disturb = async () => {
    for (let time = 0; time < RESETS; time += 1) {
      await pace(random.integer(100, (1.8 * LOAD_MS) / RESETS));
      proxy.resetInFrame(time % 2 === 0 ? 'down' : 'up');
    }
    await pace(LOAD_MS / RESETS);
    proxy.restore();
  };
  const told = () => {
    const { up, down } = proxy.counts.resets;
    const violations = [...none('reset of what the node says', down), ...none('reset of what clients say', up)];
    return { figures: { 'resets up': up, 'resets down': down }, violations };
  };
  return runNetworkRound({ random, node, proxies: [proxy], disturb, told });
}

const SLICES: Toxics = { sliceOneIn: 3, jitterMs: 4 };
const MIN_SLICES = 5_000;

/** A third of all chunks arrive byte by byte, with pauses between some of them. */
async function runSliced(random: Random): Promise<Outcome> {
  const node = await startOne();
  const proxy = await proxyTo(node, random);
  for (const direction of ['up', 'down'] as const) proxy.poison(direction, SLICES);
  const disturb = async () => {
    await pace(LOAD_MS);
    for (const direction of ['up', 'down'] as const) proxy.poison(direction, {});
  };
  const told = () => {
    const { slices } = proxy.counts;
    return { figures: { slices }, violations: none(`${MIN_SLICES} single bytes`, Math.floor(slices / MIN_SLICES)) };
  };
  const outcome = await runNetworkRound({ random, node, proxies: [proxy], disturb, told });
  return { ...outcome, violations: [...outcome.violations, ...findReconnects(outcome)] };
}

const ROUND_DEVICES = 8;

/** A connection whose data arrives late and in pieces is still sound: nobody may be closed for it. */
function findReconnects({ figures }: Outcome): string[] {
  const { connections } = figures;
  return connections === ROUND_DEVICES ? [] : [`${connections} connections, although none of ${ROUND_DEVICES} broke`];
}

const PROXIES = 3;
const PING = { PING_INTERVAL_MS: '400', PING_TIMEOUT_MS: '400' };

/** What may happen to one proxy, for a moment. */
const MOODS: readonly ((proxy: TcpProxy, random: Random) => void)[] = [
  (proxy) => proxy.cut(),
  (proxy) => proxy.hang(),
  (proxy) => proxy.lose('up'),
  (proxy) => proxy.lose('down'),
  (proxy) => proxy.resetInFrame('up'),
  (proxy) => proxy.resetInFrame('down'),
  (proxy, random) => proxy.poison('up', { latencyMs: random.integer(5, 150), jitterMs: 100 }),
  (proxy, random) => proxy.poison('down', { latencyMs: random.integer(5, 150), jitterMs: 100 }),
  (proxy, random) => proxy.poison('down', { bytesPerSecond: random.integer(2_000, 50_000) }),
  (proxy) => proxy.poison('down', { sliceOneIn: 4, jitterMs: 3 }),
  (proxy) => proxy.poison('up', { sliceOneIn: 2, jitterMs: 3 }),
];

const BAD_MS = 2_500;

async function runBadNetwork(random: Random): Promise<Outcome> {
  const node = await startOne({ env: PING });
  const proxies = await Promise.all(Array.from({ length: PROXIES }, () => proxyTo(node, random)));
  let moods = 0;
  const trouble = async (proxy: TcpProxy) => {
    const endsAt = performance.now() + BAD_MS;
    while (performance.now() < endsAt) {
      MOODS[random.integer(0, MOODS.length - 1)]?.(proxy, random);
      moods += 1;
      await pace(random.integer(50, 700));
      if (random.integer(1, 2) === 1) proxy.restore();
      await pace(random.integer(0, 200));
    }
    proxy.restore();
  };
  const disturb = async () => {
    await Promise.all(proxies.map(trouble));
  };
  const told = () => {
    const lost = proxies.reduce((sum, { counts }) => sum + counts.lostBytes.up + counts.lostBytes.down, 0);
    return { figures: { moods, 'bytes lost': lost }, violations: [] };
  };
  return runNetworkRound({ random, node, proxies, disturb, told });
}

export const NETWORK: readonly Scenario[] = [
  {
    id: 'F12',
    fault: 'connections are reset within a frame',
    injected: `a proxy that passes on part of a chunk and resets both sides: all connections, ${RESETS} times a round, in either direction`,
    expected: 'no crash, order kept, nothing lost, no send duplicated by its retry',
    needs: [],
    tells: ['resets up', 'resets down'],
    run: runReset,
  },
  {
    id: 'F13',
    fault: 'data arrives byte by byte',
    injected: 'a proxy that writes a third of all chunks in single bytes, with pauses, in both directions',
    expected: 'no crash, order kept, nothing lost, no connection lost',
    needs: [],
    tells: ['slices'],
    run: runSliced,
  },
  {
    id: 'F9 F12 F13 F14 (together)',
    fault: 'a bad network',
    injected: `${PROXIES} proxies that are cut, silent in both or one direction, slow, narrow, torn or reset, at random`,
    expected: 'no crash, order kept, nothing lost, no send duplicated by its retry',
    needs: [],
    tells: ['moods'],
    run: runBadNetwork,
  },
];
