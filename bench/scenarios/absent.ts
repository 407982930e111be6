import type { Answer } from '../support/http-connection';
import { openConnections } from '../support/http-connection';
import { createLanes, sendAsFastAsAnswered } from '../support/load';
import type { BenchOptions } from '../support/options';
import { type Memory, measureUsage, readMemory, type Usage, watchPeakMemory } from '../support/process-stats';
import { connectReceiver } from '../support/receivers';
import type { Section } from '../support/report';
import { withDeadline } from '../support/rounds';
import { TIDINGS } from '../support/server-kinds';
import { type RunningServer, withServers } from '../support/servers';
import { median } from '../support/statistics';
import { createServiceToken } from '../support/tokens';
import type { Delivery } from '../support/wire';

const LANES = 32;
const TEXT = 'x'.repeat(128);
const CATCH_UP_TARGET_PER_SECOND = 20_000;

/** How many users receive how many messages each. */
interface Group {
  readonly name: string;
  readonly users: number;
  readonly messagesEach: number;
}

interface Plan {
  /** Many users with a few messages. */
  readonly many: Group;
  /** Few users with many messages, whose catch-up is timed. */
  readonly heavy: Group;
}

const FULL_PLAN: Plan = {
  many: { name: 'many', users: 200, messagesEach: 100 },
  heavy: { name: 'heavy', users: 3, messagesEach: 10_000 },
};
const QUICK_PLAN: Plan = {
  many: { name: 'many', users: 20, messagesEach: 25 },
  heavy: { name: 'heavy', users: 2, messagesEach: 1000 },
};

/** What the service answered about what it stored: the ids of each user's topic, indexed by `seq`. */
type Stored = Map<string, string[]>;

/** Messages to offline users: nothing lost, memory, and how fast they catch up. The peers store nothing. */
export async function runAbsent(options: BenchOptions): Promise<Section[]> {
  if (options.isPeersOnly) return [];
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  return withServers([TIDINGS], async (servers) => {
    const sections: Section[] = [];
    for (const server of servers) sections.push(await runPlan(server, plan));
    return sections;
  });
}

async function runPlan(server: RunningServer, { many, heavy }: Plan): Promise<Section> {
  const stored: Stored = new Map();
  const faults: string[] = [];
  await server.collectGarbage();
  const before = readMemory(server.pid);
  const sending = await measureSending(server, [many, heavy], { stored, faults });
  await server.collectGarbage();
  const after = readMemory(server.pid);
  faults.push(...checkStored(stored, [many, heavy]));
  process.stderr.write('absent: catching up\n');
  const caughtUp = await catchUp(server, heavy, stored);
  const sampled = await catchUp(server, many, stored);
  faults.push(...caughtUp.faults, ...sampled.faults);
  const memory = { before, peak: sending.peak, after };
  return createSection({ plan: { many, heavy }, usage: sending.usage, memory, caughtUp, sampled, faults });
}

interface Findings {
  readonly stored: Stored;
  readonly faults: string[];
}

async function measureSending(server: RunningServer, groups: readonly Group[], findings: Findings) {
  const usages: Usage[] = [];
  const peak = await watchPeakMemory(server.pid, async () => {
    for (const group of groups) usages.push(await sendToGroup(server, group, findings));
  });
  return { peak, usage: usages.reduce(addUsage) };
}

function addUsage(a: Usage, b: Usage): Usage {
  return {
    cpuMicros: a.cpuMicros + b.cpuMicros,
    elapsedMs: a.elapsedMs + b.elapsedMs,
    clientShare: Math.max(a.clientShare, b.clientShare),
  };
}

async function sendToGroup(server: RunningServer, group: Group, { stored, faults }: Findings): Promise<Usage> {
  const count = group.users * group.messagesEach;
  process.stderr.write(`absent: ${count} messages to ${group.users} users\n`);
  const connections = await openConnections(LANES, server.port, createServiceToken());
  let sent = 0;
  const usage = await measureUsage(server.pid, () =>
    sendAsFastAsAnswered(createLanes(connections), count, async ({ connection }) => {
      const n = sent++;
      const userId = `${group.name}-${n % group.users}`;
      const content = { userId, type: 'bench', data: { n, text: TEXT } };
      noteStored(stored, userId, await connection.post(server.kind.sendPath, content), faults);
    }),
  );
  for (const connection of connections) connection.close();
  return usage;
}

function noteStored(stored: Stored, userId: string, { status, body }: Answer, faults: string[]): void {
  if (status !== 200) {
    faults.push(`absent: answered ${status}: ${body}`);
    return;
  }
  const { id, seq } = JSON.parse(body) as { id: string; seq: number };
  const ids = stored.get(userId) ?? [];
  if (ids[seq - 1] !== undefined) faults.push(`absent: ${userId} has seq ${seq} twice`);
  ids[seq - 1] = id;
  stored.set(userId, ids);
}

/** Every id once, every user's `seq` from 1 to the number of messages without a gap. */
function checkStored(stored: Stored, groups: readonly Group[]): string[] {
  const faults: string[] = [];
  const seen = new Set<string>();
  const total = groups.reduce((sum, group) => sum + group.users * group.messagesEach, 0);
  for (const ids of stored.values()) {
    for (const id of ids) if (id !== undefined) seen.add(id);
  }
  if (seen.size !== total) faults.push(`absent: ${seen.size} different ids for ${total} messages`);
  for (const { name, users, messagesEach } of groups) {
    for (let i = 0; i < users; i += 1) {
      const { length = 0 } = stored.get(`${name}-${i}`) ?? [];
      if (length !== messagesEach)
        faults.push(`absent: ${name}-${i} reaches seq ${length} with ${messagesEach} messages`);
    }
  }
  return faults;
}

interface CatchUp {
  readonly perSecond: number[];
  readonly cpuMicros: number;
  readonly received: number;
  readonly faults: string[];
}

/** Connects the users of a group one after the other. */
async function catchUp(server: RunningServer, group: Group, stored: Stored): Promise<CatchUp> {
  const result = { perSecond: [] as number[], cpuMicros: 0, received: 0, faults: [] as string[] };
  const usage = await measureUsage(server.pid, async () => {
    for (let i = 0; i < group.users; i += 1) {
      const userId = `${group.name}-${i}`;
      const { elapsedMs, received, faults } = await catchUpOne(server, userId, stored.get(userId) ?? []);
      result.perSecond.push((received / elapsedMs) * 1000);
      result.received += received;
      result.faults.push(...faults);
    }
  });
  return { ...result, cpuMicros: usage.cpuMicros };
}

/** From opening the connection to the end of catch-up: waiting messages must come once, in order, with their ids. */
async function catchUpOne(server: RunningServer, userId: string, ids: readonly string[]) {
  const startedAt = performance.now();
  let [received, wrong] = [0, 0];
  const note = ({ seq, id }: Delivery) => {
    if (seq !== received + 1 || id !== ids[received]) wrong += 1;
    received += 1;
  };
  const receiver = await withDeadline(`catch-up of ${userId}`, connectReceiver(server, userId, note));
  const elapsedMs = performance.now() - startedAt;
  receiver.close();
  const faults: string[] = [];
  if (received !== ids.length) faults.push(`absent: ${userId} received ${received} of ${ids.length}`);
  if (wrong > 0) faults.push(`absent: ${userId} received ${wrong} repeated or out of order`);
  return { elapsedMs, received, faults };
}

interface Outcome {
  readonly plan: Plan;
  readonly usage: Usage;
  readonly memory: { readonly before: Memory; readonly peak: Memory; readonly after: Memory };
  readonly caughtUp: CatchUp;
  readonly sampled: CatchUp;
  readonly faults: readonly string[];
}

function createSection(outcome: Outcome): Section {
  const rows = [...createSendingRows(outcome), ...createMemoryRows(outcome.memory), ...createCatchUpRows(outcome)];
  return {
    title: 'Offline users',
    header: ['figure', TIDINGS.label, 'target', 'met'],
    rows,
    faults: outcome.faults,
  };
}

function createSendingRows({ plan: { many, heavy }, usage, caughtUp, sampled, faults }: Outcome): string[][] {
  const count = many.users * many.messagesEach + heavy.users * heavy.messagesEach;
  const received = caughtUp.received + sampled.received;
  const verdict = faults.length === 0 ? 'yes' : 'NO';
  return [
    [
      `messages accepted for ${many.users + heavy.users} absent users, and received later`,
      `${count}, ${received}`,
      'all, once, in order',
      verdict,
    ],
    [`requests/s, ${LANES} in flight`, ((count / usage.elapsedMs) * 1000).toFixed(0), '', ''],
    ['CPU µs per request', (usage.cpuMicros / count).toFixed(0), '', ''],
  ];
}

function createMemoryRows({ before, peak, after }: Outcome['memory']): string[][] {
  const row = (title: string, read: (memory: Memory) => number) => {
    const [atFirst, highest, atLast] = [before, peak, after].map((memory) => (read(memory) / 1024).toFixed(0));
    return [title, `${atFirst} / ${highest} / ${atLast}`, '', ''];
  };
  return [
    row('MiB of RSS before / at most while sending / after', (memory) => memory.rssKiB),
    row('the same without mapped files', (memory) => memory.anonymousKiB),
  ];
}

function createCatchUpRows({ plan: { heavy }, caughtUp }: Outcome): string[][] {
  const { perSecond, cpuMicros, received } = caughtUp;
  const rate = median(perSecond);
  const range = `${Math.min(...perSecond).toFixed(0)} … ${Math.max(...perSecond).toFixed(0)}`;
  const title = `messages/s catching up on ${heavy.messagesEach} (${heavy.users} users in turn)`;
  const target = `≥ ${CATCH_UP_TARGET_PER_SECOND}`;
  return [
    [title, `${rate.toFixed(0)} (${range})`, target, rate >= CATCH_UP_TARGET_PER_SECOND ? 'yes' : 'NO'],
    ['CPU µs per message caught up', (cpuMicros / received).toFixed(1), '', ''],
  ];
}
