import { atLeastPeerTimes, compareServers, type Figure, type Layout } from '../support/comparison';
import { type Answer, openConnections } from '../support/http-connection';
import { createLanes, sendAsFastAsAnswered } from '../support/load';
import type { BenchOptions } from '../support/options';
import { measureUsage } from '../support/process-stats';
import type { Section } from '../support/report';
import { runRounds, type Sample } from '../support/rounds';
import { TIDINGS_BATCH, TIDINGS_SINGLE, TIDINGS_SINGLE_AGAIN } from '../support/server-kinds';
import { type RunningServer, withServers } from '../support/servers';
import { createServiceToken } from '../support/tokens';

const BATCH_SIZE = 100;
/** Enough to share flushes well, so that single sends do not look worse than they are. */
const SINGLES_AT_ONCE = 32;
const BATCHES_AT_ONCE = 4;
const USERS = 1000;
const TEXT = 'x'.repeat(128);
const MIN_RATIO = 5;
const MAX_FAULTS = 3;

interface Plan {
  readonly rounds: number;
  readonly warmUp: number;
  /** Messages of one sample: the cost of each is compared, so the numbers need not be equal. */
  readonly batched: number;
  readonly single: number;
}

const FULL_PLAN: Plan = { rounds: 5, warmUp: 5000, batched: 60_000, single: 10_000 };
const QUICK_PLAN: Plan = { rounds: 1, warmUp: 200, batched: 4000, single: 800 };

type Key = 'perCpuSecond' | 'cpu' | 'throughput' | 'clientBusy';

const FIGURES: Figure<Key>[] = [
  {
    key: 'perCpuSecond',
    title: 'messages per CPU second',
    digits: 0,
    comparedBy: 'ratio',
    target: atLeastPeerTimes(MIN_RATIO, TIDINGS_SINGLE),
  },
  { key: 'cpu', title: 'CPU µs per message', digits: 1, comparedBy: 'ratio' },
  { key: 'throughput', title: 'messages/s', digits: 0, comparedBy: 'ratio' },
  { key: 'clientBusy', title: 'clients busy, % of a core', digits: 0 },
];

const LAYOUT: Layout = {
  columns: [TIDINGS_BATCH, TIDINGS_SINGLE],
  pairs: [[TIDINGS_BATCH, TIDINGS_SINGLE]],
  noise: [TIDINGS_SINGLE_AGAIN, TIDINGS_SINGLE],
};

/** The same messages in batches and one by one, to offline users. */
export async function runBatch(options: BenchOptions): Promise<Section[]> {
  if (options.isPeersOnly) return [];
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const contestants = [TIDINGS_BATCH, TIDINGS_SINGLE, TIDINGS_SINGLE_AGAIN];
  const rounds = await withServers(contestants, async (servers) => {
    const senders = servers.map(createSender);
    for (const sender of senders) await measure(sender, plan.warmUp);
    return runRounds('batch', senders, {
      count: plan.rounds,
      measure: (sender) => measure(sender, sender.isBatching ? plan.batched : plan.single),
    });
  });
  return [compareServers('Batches', FIGURES, rounds, LAYOUT)];
}

/** A server, and how messages are sent to it. */
interface Sender {
  readonly label: string;
  readonly server: RunningServer;
  readonly isBatching: boolean;
  sent: number;
  /** The last `seq` of each user: the next one must be the next number. */
  readonly lastSeqs: number[];
}

function createSender(server: RunningServer): Sender {
  const { label } = server;
  return { label, server, isBatching: label === TIDINGS_BATCH.label, sent: 0, lastSeqs: [] };
}

async function measure(sender: Sender, messages: number): Promise<Sample<Key>> {
  const { server, isBatching } = sender;
  const faults: string[] = [];
  const connections = await openConnections(
    isBatching ? BATCHES_AT_ONCE : SINGLES_AT_ONCE,
    server.port,
    createServiceToken(),
  );
  const size = isBatching ? BATCH_SIZE : 1;
  const usage = await measureUsage(server.pid, () =>
    sendAsFastAsAnswered(createLanes(connections), messages / size, async ({ connection }) => {
      const contents = Array.from({ length: size }, () => nextContent(sender));
      const answer = isBatching
        ? await connection.post('/messages/batch', { messages: contents })
        : await connection.post(server.kind.sendPath, contents[0]);
      checkAnswer(sender, answer, { size, faults });
    }),
  );
  for (const connection of connections) connection.close();
  const figures = {
    perCpuSecond: messages / (usage.cpuMicros / 1e6),
    cpu: usage.cpuMicros / messages,
    throughput: (messages / usage.elapsedMs) * 1000,
    clientBusy: usage.clientShare * 100,
  };
  return { figures, faults: [...faults.slice(0, MAX_FAULTS), ...checkSeqs(sender)] };
}

function nextContent(sender: Sender) {
  const n = sender.sent++;
  return { userId: `user-${n % USERS}`, type: 'bench', data: { n, text: TEXT } };
}

interface Expected {
  readonly size: number;
  readonly faults: string[];
}

function checkAnswer({ isBatching, lastSeqs }: Sender, { status, body }: Answer, { size, faults }: Expected): void {
  if (status !== 200) {
    faults.push(`answered ${status}: ${body}`);
    return;
  }
  const answer = JSON.parse(body) as StoredPlace & { readonly results: readonly StoredPlace[] };
  const places = isBatching ? answer.results : [answer];
  if (places.length !== size) faults.push(`${places.length} results for ${size} messages`);
  for (const { topic, seq } of places) {
    const user = Number(topic?.slice('@user-'.length));
    if (seq === undefined) faults.push('an item was refused');
    else lastSeqs[user] = Math.max(lastSeqs[user] ?? 0, seq);
  }
}

interface StoredPlace {
  readonly topic?: string;
  readonly seq?: number;
}

/** Each message was stored once: the last `seq` of all users together are as many as were sent. */
function checkSeqs({ sent, lastSeqs }: Sender): string[] {
  const stored = lastSeqs.reduce((sum, seq) => sum + seq, 0);
  return stored === sent ? [] : [`${stored} stored of ${sent}`];
}
