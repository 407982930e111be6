import {
  type Audience,
  audienceUserAt,
  createAudience,
  createAudienceFigures,
  growAudience,
  measureAudience,
} from '../support/audience';
import { atMostPeerTimes, compareServers, type Layout } from '../support/comparison';
import { HttpConnection } from '../support/http-connection';
import type { BenchOptions } from '../support/options';
import type { Section } from '../support/report';
import { runRounds } from '../support/rounds';
import { type Contestant, RAW_WS, RAW_WS_AGAIN, TIDINGS_PLAIN, TIDINGS_SOCKET_IO } from '../support/server-kinds';
import { type RunningServer, withServers } from '../support/servers';
import { createUserToken } from '../support/tokens';

const TOPIC = 'bench';
const JOINING_AT_ONCE = 32;

interface Plan {
  readonly members: number;
  readonly rounds: number;
  readonly warmUp: number;
  readonly messages: number;
}

const FULL_PLAN: Plan = { members: 1000, rounds: 7, warmUp: 500, messages: 300 };
const QUICK_PLAN: Plan = { members: 100, rounds: 1, warmUp: 5, messages: 30 };

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
  const rounds = await withServers(chooseTopicContestants(options), async (servers) => {
    const audiences: Audience[] = [];
    for (const server of servers) audiences.push(await gatherMembers(server, plan));
    for (const audience of audiences) await measureAudience(audience, plan.warmUp);
    return runRounds(title, audiences, {
      count: plan.rounds,
      measure: (audience) => measureAudience(audience, plan.messages),
    });
  });
  return [compareServers(title, FIGURES, rounds, LAYOUT)];
}

/** In the order of the first round. */
function chooseTopicContestants({ isPeersOnly }: BenchOptions): Contestant[] {
  return isPeersOnly ? [RAW_WS, RAW_WS_AGAIN] : [TIDINGS_PLAIN, RAW_WS, TIDINGS_SOCKET_IO, RAW_WS_AGAIN];
}

/** Raw ws knows no topics: there, a message to the members is one to all sockets. */
async function gatherMembers(server: RunningServer, { members }: Plan): Promise<Audience> {
  const { topicsPath, broadcastPath } = server.kind;
  if (topicsPath !== undefined) await createTopic(server, topicsPath, members);
  const path = topicsPath === undefined ? broadcastPath : `${topicsPath}/${TOPIC}/messages`;
  const audience = createAudience(server, path);
  await growAudience(audience, members);
  return audience;
}

/** The first user owns the topic and is in it thereby; the others join. */
async function createTopic(server: RunningServer, topicsPath: string, members: number): Promise<void> {
  process.stderr.write(`topic: ${members} users join on ${server.label}\n`);
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
  /** What must be answered. */
  readonly status: number;
  /** Without it the body is empty. */
  readonly content?: unknown;
}

async function postAs(server: RunningServer, member: number, { path, status, content }: Post): Promise<void> {
  const userId = audienceUserAt(member);
  const connection = await HttpConnection.open(server.port, createUserToken(userId));
  const answer = await connection.post(path, content);
  connection.close();
  if (answer.status !== status) throw new Error(`POST ${path} as ${userId}: ${answer.status} ${answer.body}`);
}
