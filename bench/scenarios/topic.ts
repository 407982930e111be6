import {
  type Audience,
  type AudienceKey,
  audienceUserAt,
  createAudience,
  createAudienceFigures,
  growAudience,
  measureAudiences,
} from '../support/audience';
import { atMostPeerTimes, compareServers, type Layout } from '../support/comparison';
import { HttpConnection } from '../support/http-connection';
import type { BenchOptions } from '../support/options';
import type { Section } from '../support/report';
import { inOrderOf, type Round, repeatRounds, withDeadline } from '../support/rounds';
import { type Contestant, RAW_WS, RAW_WS_AGAIN, TIDINGS_PLAIN, TIDINGS_SOCKET_IO } from '../support/server-kinds';
import { type RunningServer, withServers } from '../support/servers';
import { createUserToken } from '../support/tokens';

const TOPIC = 'bench';
const JOINING_AT_ONCE = 32;

interface Plan {
  readonly members: number;
  /** How often each pair is measured. */
  readonly rounds: number;
  /** Messages to the first members only, until the code that runs once per message is compiled. */
  readonly warmUp: { readonly members: number; readonly messages: number };
  /** Messages to all members, before those that count. */
  readonly settling: number;
  readonly messages: number;
}

const FULL_PLAN: Plan = {
  members: 1000,
  rounds: 5,
  warmUp: { members: 50, messages: 2000 },
  settling: 200,
  messages: 300,
};
const QUICK_PLAN: Plan = {
  members: 100,
  rounds: 1,
  warmUp: { members: 10, messages: 5 },
  settling: 5,
  messages: 30,
};

const LAYOUT: Layout = {
  columns: [TIDINGS_PLAIN, TIDINGS_SOCKET_IO, RAW_WS],
  pairs: [
    [TIDINGS_PLAIN, RAW_WS],
    [TIDINGS_SOCKET_IO, RAW_WS],
  ],
  noise: [RAW_WS_AGAIN, RAW_WS],
};

const TARGET = atMostPeerTimes(1.1, { of: TIDINGS_PLAIN, peer: RAW_WS });
const FIGURES = createAudienceFigures('message', TARGET);

/** Messages to a public topic: CPU per delivery, all members on the plain endpoint and all on Socket.IO. */
export async function runTopic(options: BenchOptions): Promise<Section[]> {
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const title = `Topic message to ${plan.members} sockets`;
  const pairs = options.isPeersOnly ? [LAYOUT.noise] : [...LAYOUT.pairs, LAYOUT.noise];
  // Two processes of one program differ for as long as they run, so every round has its own.
  const turns = Array.from({ length: plan.rounds }, (_, i) => pairs.map((pair) => inOrderOf(i, pair))).flat();
  const rounds = await repeatRounds(title, turns, (pair) => measurePair(pair, plan));
  return [compareServers(title, FIGURES, rounds, LAYOUT)];
}

async function measurePair(pair: readonly Contestant[], plan: Plan): Promise<Round<AudienceKey>> {
  return withServers(pair, async (servers) => {
    const audiences = await Promise.all(servers.map((server) => prepareTopic(server, plan)));
    for (const audience of audiences) await growAudience(audience, plan.warmUp.members);
    await measureAudiences(audiences, plan.warmUp.messages);
    for (const audience of audiences) await growAudience(audience, plan.members);
    await measureAudiences(audiences, plan.settling);
    const labels = pair.map(({ label }) => label).join(' and ');
    return withDeadline(`topic, ${labels}`, measureAudiences(audiences, plan.messages));
  });
}

/** Raw ws has no topics: there, a message to the members is one to all sockets. */
async function prepareTopic(server: RunningServer, { members }: Plan): Promise<Audience> {
  const { topicsPath, broadcastPath } = server.kind;
  if (topicsPath !== undefined) await createTopic(server, topicsPath, members);
  return createAudience(server, topicsPath === undefined ? broadcastPath : `${topicsPath}/${TOPIC}/messages`);
}

/** The first user owns the topic and is a member by that; the others join. */
async function createTopic(server: RunningServer, topicsPath: string, members: number): Promise<void> {
  const content = { name: TOPIC, isPrivate: false };
  await postAs(server, 0, { path: topicsPath, status: 201, content });
  let next = 1;
  const joinRest = async () => {
    while (next < members) await postAs(server, next++, { path: `${topicsPath}/${TOPIC}/members`, status: 200 });
  };
  await Promise.all(Array.from({ length: JOINING_AT_ONCE }, joinRest));
}

interface Post {
  readonly path: string;
  /** The status that is expected. */
  readonly status: number;
  /** Without a body, it is empty. */
  readonly content?: unknown;
}

async function postAs(server: RunningServer, member: number, { path, status, content }: Post): Promise<void> {
  const userId = audienceUserAt(member);
  const connection = await HttpConnection.open(server.port, createUserToken(userId));
  const answer = await connection.post(path, content);
  connection.close();
  if (answer.status !== status) throw new Error(`POST ${path} as ${userId}: ${answer.status} ${answer.body}`);
}
