import { HttpConnection, openConnections } from '../support/http-connection';
import { createLanes, type Lane, sendAtRate } from '../support/load';
import type { BenchOptions } from '../support/options';
import { connectReceivers } from '../support/receivers';
import type { Section } from '../support/report';
import { type Contestant, createNode } from '../support/server-kinds';
import { type RunningServer, withServers } from '../support/servers';
import { withSharedServices } from '../support/shared-services';
import { median, quantile } from '../support/statistics';
import { Tally } from '../support/tally';
import { createServiceToken } from '../support/tokens';

const TEXT = 'x'.repeat(128);
const PER_SECOND = 20;
const MAX_ADDED_MS = 2;
/** The user of lane 0 is connected to the node that receives the sends, the user of lane 1 to the other one. */
const USERS = ['near', 'far'] as const;

interface Plan {
  readonly rounds: number;
  readonly warmUp: number;
  readonly messages: number;
  readonly clients: number;
  readonly broadcasts: number;
}

const FULL_PLAN: Plan = { rounds: 7, warmUp: 200, messages: 100, clients: 2000, broadcasts: 40 };
const QUICK_PLAN: Plan = { rounds: 1, warmUp: 10, messages: 20, clients: 100, broadcasts: 5 };

/** Two nodes over MongoDB and Redis: what the path through Redis costs, and whether a broadcast reaches everybody. */
export async function runTwoNodes(options: BenchOptions): Promise<Section[]> {
  if (options.isPeersOnly) return [];
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  return withSharedServices('Two nodes', ({ storeUrl, redisUrl }) => {
    const nodes = ['one node', 'other node'].map((label) => createNode(label, storeUrl, redisUrl));
    return measureNodes(nodes, plan);
  });
}

async function measureNodes(nodes: readonly Contestant[], plan: Plan): Promise<Section> {
  return withServers(nodes, async (servers) => {
    const [here, there] = servers as [RunningServer, RunningServer];
    const latencies = await measureLatencies([here, there], plan);
    const audience = await measureBroadcasts([here, there], plan);
    return {
      title: 'Two nodes',
      header: ['figure', 'same node', 'other node', 'added', 'target', 'met'],
      rows: [...latencies.rows, ...audience.rows],
      faults: [...latencies.faults, ...audience.faults],
    };
  });
}

type Pair = readonly [RunningServer, RunningServer];

/** Both users receive their messages in turn within one run, so both meet the same state of the machine. */
async function measureLatencies([here, there]: Pair, plan: Plan) {
  const tally = new Tally();
  const dueAt = new Map<string, number>();
  const times: [number[], number[]] = [[], []];
  const sent = [0, 0];
  const note =
    (lane: 0 | 1) =>
    (_index: number, { data }: { data: { n: number } }) => {
      times[lane].push(performance.now() - (dueAt.get(`${lane}/${data.n}`) ?? Number.NaN));
      tally.noteDelivery(lane, data.n);
    };
  await connectReceivers(here, [USERS[0]], note(0));
  await connectReceivers(there, [USERS[1]], note(1));
  const sendOne = async ({ index, connection }: Lane, due: number) => {
    const n = (sent[index] ?? 0) + 1;
    sent[index] = n;
    dueAt.set(`${index}/${n}`, due);
    const content = { userId: USERS[index], type: 'bench', data: { n, text: TEXT } };
    await tally.noteAnswer(connection.post(here.kind.sendPath, content));
  };
  const faults: string[] = [];
  const medians: [number[], number[]] = [[], []];
  const tails: [number[], number[]] = [[], []];
  for (let round = 0; round <= plan.rounds; round += 1) {
    const count = round === 0 ? plan.warmUp : plan.messages;
    process.stderr.write(`two nodes: round ${round} of ${plan.rounds}\n`);
    const connections = await openConnections(2, here.port, createServiceToken());
    tally.begin();
    for (const lane of times) lane.length = 0;
    await sendAtRate(createLanes(connections), { perSecond: PER_SECOND, count }, sendOne);
    await tally.waitForDeliveries(count);
    for (const connection of connections) connection.close();
    faults.push(...tally.findFaults(count));
    if (round === 0) continue;
    for (const lane of [0, 1] as const) {
      medians[lane].push(median(times[lane]));
      tails[lane].push(quantile(times[lane], 0.99));
    }
  }
  return { rows: [latencyRow('median', medians, MAX_ADDED_MS), latencyRow('p99', tails)], faults };
}

function latencyRow(name: string, [near, far]: readonly [number[], number[]], limit?: number): string[] {
  const added = far.map((value, round) => value - (near[round] ?? Number.NaN));
  const middle = median(added);
  const range = `${middle.toFixed(2)} (${Math.min(...added).toFixed(2)} … ${Math.max(...added).toFixed(2)})`;
  const title = `ms to the socket at ${PER_SECOND}/s, ${name} (${near.length} rounds)`;
  const verdict = limit === undefined ? ['', ''] : [`≤ ${limit} added`, middle <= limit ? 'yes' : 'NO'];
  return [title, median(near).toFixed(2), median(far).toFixed(2), range, ...verdict];
}

/**
 * Half of the clients on each node; broadcasts by both nodes in turn, the next when the previous has reached everybody.
 */
async function measureBroadcasts(servers: Pair, { clients, broadcasts }: Plan) {
  process.stderr.write(`two nodes: ${clients} clients\n`);
  const tally = new Tally();
  const half = clients / 2;
  for (const [index, server] of servers.entries()) {
    const first = index * half;
    const userIds = Array.from({ length: half }, (_, i) => `client-${first + i}`);
    await connectReceivers(server, userIds, (i, { data }) => tally.noteDelivery(first + i, data.n));
  }
  const connections = await Promise.all(servers.map(({ port }) => HttpConnection.open(port, createServiceToken())));
  tally.begin();
  const startedAt = performance.now();
  for (let n = 1; n <= broadcasts; n += 1) {
    const content = { type: 'bench', data: { n, text: TEXT } };
    const connection = connections[n % 2] as HttpConnection;
    await tally.noteAnswer(connection.post(servers[0].kind.broadcastPath, content));
    await tally.waitForDeliveries(n * clients);
  }
  const perSecond = (broadcasts * clients) / ((performance.now() - startedAt) / 1000);
  for (const connection of connections) connection.close();
  const faults = tally.findFaults(broadcasts * clients);
  const verdict = faults.length === 0 ? 'yes' : 'NO';
  return {
    rows: [
      [`${broadcasts} broadcasts to ${clients} clients on both`, '', '', '', 'all, once, in order', verdict],
      ['deliveries/s, one broadcast at a time', perSecond.toFixed(0), '', '', '', ''],
    ],
    faults,
  };
}
