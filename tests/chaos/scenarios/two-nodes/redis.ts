/** Redis fails in several ways: F20 to F22. */
import { readFileSync } from 'node:fs';
import type { Random } from '../../../support/random';
import type { RedisServer } from '../../../support/redis';
import { testToken } from '../../../support/service';
import type { Findings } from '../../findings';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { type Pair, runWithPair } from '../../pair';
import { CONNECT_PATIENCE_MS } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { type Nodes, startNodes, untilLive } from '../../two-nodes';
import { pace } from '../../until';
import { flood } from './flood';
import { COMPARED_MS, expectByFrames, LOCAL_MS, untilListed } from './limits';

interface Away {
  begin(redis: RedisServer): Promise<void>;
  end(redis: RedisServer): Promise<void>;
}

const KILLED: Away = {
  begin: (redis) => redis.kill(),
  end: (redis) => redis.start(),
};
const HUNG: Away = {
  begin: async (redis) => void redis.process.child.kill('SIGSTOP'),
  end: async (redis) => void redis.process.child.kill('SIGCONT'),
};

const DEGRADED_MS = 2_000;
/** One unanswered command, and the rest of the request. */
const FIRST_SEND_MS = 1_900;
/** Once Redis is known to be down, nothing waits for it. */
const SEND_MS = 1_000;
const SENDS = 3;
/** The least that a queue of everything unpublished would need. */
const HEAP_MIB = 96;
/** More than the heap holds. */
const FLOOD_BATCHES = 100;

async function runAway(random: Random, { begin, end }: Away): Promise<Outcome> {
  const two = await startNodes({ env: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}` } });
  const [here, there] = two.nodes;
  return runWithPair(two, async (pair, findings) => {
    await (await pair.say()).far;
    // At any moment between two heartbeats.
    await pace(random.integer(0, 500));
    await begin(two.redis);
    const degraded = Promise.all([here, there].map((node) => untilLive(node, 'degraded')));
    const first = await pair.say();
    findings.takesAtMost('the first send without Redis', first.answeredMs, FIRST_SEND_MS);
    const degradedMs = Math.max(...(await degraded));
    findings.takesAtMost('`degraded`', degradedMs, DEGRADED_MS);
    const before = peakMib(here);
    const floodedMib = await flood(here, FLOOD_BATCHES);
    const grownMib = peakMib(here) - before;
    const remoteMs = await sendWithoutRedis(pair, findings);
    await pair.device('ben', 'phone', 0).open(CONNECT_PATIENCE_MS);

    await end(two.redis);
    const okMs = await Promise.all([untilLive(here, 'ok'), untilLive(there, 'ok')]);
    await sendWithRedis(pair, findings);
    await untilListed(pair, 'ben', 1);
    findings.expect(grownMib < floodedMib, `${floodedMib} MiB that could not be told took ${grownMib} MiB of memory`);
    return {
      'ms until degraded': Math.round(degradedMs),
      'ms of the first send': Math.round(first.answeredMs),
      'ms until the other node has it': Math.round(remoteMs),
      'ms until ok': Math.round(Math.max(...okMs)),
      'MiB that could not be told': floodedMib,
      'MiB of memory for them': grownMib,
    };
  });
}

/** The most memory that a node has ever had, in MiB. */
function peakMib({ process }: ChaosNode): number {
  const [, kib = ''] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${process.child.pid}/status`, 'utf8')) ?? [];
  return Math.round(Number(kib) / 1_024);
}

/** @returns the longest time until the other node had found something. */
async function sendWithoutRedis(pair: Pair, findings: Findings): Promise<number> {
  const remote: Promise<number>[] = [];
  for (let send = 0; send < SENDS; send += 1) {
    const { status, body, answeredMs, near, far } = await pair.say();
    findings.expect(status === 200, `a send without Redis was answered ${status}`);
    findings.expect(body['live'] === 'degraded', `a send without Redis said live: ${body['live']}`);
    findings.takesAtMost('a send without Redis', answeredMs, SEND_MS);
    findings.takesAtMost('delivery on the same node', await near, LOCAL_MS);
    remote.push(far);
  }
  const longest = Math.max(...(await Promise.all(remote)));
  findings.takesAtMost('delivery on the other node', longest, COMPARED_MS);
  return longest;
}

export async function sendWithRedis(pair: Pair, findings: Findings): Promise<void> {
  const times: number[] = [];
  for (let send = 0; send < SENDS; send += 1) {
    const { body, near, far } = await pair.say();
    findings.expect(body['live'] === 'ok', `a send with Redis said live: ${body['live']}`);
    await near;
    times.push(await far);
  }
  expectByFrames(findings, 'deliveries on the other node', times);
}

const LIMIT_PER_MINUTE = 30;

/**
 * Emptied while everybody stays connected, and empty after a restart: scripts and counts are gone, subscriptions too.
 */
async function runEmpty(random: Random): Promise<Outcome> {
  const two = await startNodes({ env: { RATE_LIMIT_PER_MINUTE: String(LIMIT_PER_MINUTE) } });
  return runWithPair(two, async (pair, findings) => {
    const counted = await countAllowed(two, 'before');
    findings.expect(counted === LIMIT_PER_MINUTE, `nodes that share a limit of ${LIMIT_PER_MINUTE} allowed ${counted}`);
    await two.redis.command('FLUSHALL');
    await two.redis.command('SCRIPT', 'FLUSH');
    await sendWithRedis(pair, findings);
    await two.redis.restart(random.integer(0, 300));
    const between = await pair.say();
    findings.expect(between.status === 200, `a send to an empty Redis was answered ${between.status}`);
    await Promise.all(two.nodes.map((node) => node.healthy()));
    await sendWithRedis(pair, findings);
    const again = await countAllowed(two, 'after');
    findings.expect(again === LIMIT_PER_MINUTE, `after it was empty they allowed ${again}`);
    return { 'requests within a limit of 30': again };
  });
}

/** Requests to both nodes in turn, more often than either may answer. @returns how many were answered. */
async function countAllowed({ nodes: [here, there] }: Nodes, userId: string): Promise<number> {
  let allowed = 0;
  for (let ask = 0; ask < LIMIT_PER_MINUTE + 10; ask += 1) {
    const { url } = ask % 2 === 0 ? here : there;
    const answer = await request(`${url}/topics`, { token: testToken(userId), timeoutMs: CONNECT_PATIENCE_MS });
    if (answer?.status === 200) allowed += 1;
  }
  return allowed;
}

const EXPECTED =
  'no crash; `live: degraded` within 2 s; a send waits 1 s at most; delivered at once here, by comparison elsewhere; ' +
  'nothing piles up; all as before after its return';

export const REDIS_AWAY: readonly Scenario[] = [
  {
    id: 'F20',
    fault: 'Redis is killed, and comes back',
    injected: 'SIGKILL; meanwhile sends, and more messages to publish than the heap of the node holds',
    expected: EXPECTED,
    needs: ['mongodb', 'redis'],
    tells: ['ms until degraded', 'ms until the other node has it', 'ms until ok'],
    run: (random) => runAway(random, KILLED),
  },
  {
    id: 'F21',
    fault: 'Redis hangs',
    injected: 'SIGSTOP, and SIGCONT; meanwhile the same',
    expected: EXPECTED,
    needs: ['mongodb', 'redis'],
    tells: ['ms until degraded', 'ms of the first send', 'ms until the other node has it', 'ms until ok'],
    run: (random) => runAway(random, HUNG),
  },
  {
    id: 'F22',
    fault: 'Redis is empty',
    injected: 'FLUSHALL and SCRIPT FLUSH under the nodes; then SIGKILL, and back after a moment',
    expected: 'sends, frames and presence continue; nodes count request limits together as before',
    needs: ['mongodb', 'redis'],
    run: runEmpty,
  },
];
