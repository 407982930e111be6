import {
  type Audience,
  createAudience,
  createAudienceFigures,
  growAudience,
  measureAudience,
} from '../support/audience';
import { atMostPeerTimes, compareServers } from '../support/comparison';
import { chooseContestants } from '../support/contestants';
import type { BenchOptions } from '../support/options';
import type { Section } from '../support/report';
import { runRounds } from '../support/rounds';
import { BY_HAND_AGAIN } from '../support/server-kinds';
import { withServers } from '../support/servers';

const WARM_UP_BROADCASTS = 5;

/** The sockets of all servers are open in this process: a fourth audience of this size exceeds usual limits. */
const MAX_AUDIENCE_WITH_NOISE = 1000;

interface Plan {
  readonly audience: number;
  readonly rounds: number;
  readonly broadcasts: number;
}

const QUICK_PLANS: Plan[] = [{ audience: 100, rounds: 1, broadcasts: 30 }];
const PLANS: Plan[] = [
  { audience: 100, rounds: 5, broadcasts: 300 },
  { audience: 1000, rounds: 5, broadcasts: 50 },
];
const LARGE_PLAN: Plan = { audience: 5000, rounds: 5, broadcasts: 20 };

const FIGURES = createAudienceFigures('broadcast', atMostPeerTimes(1));

/** Messages to everybody: CPU per delivery, for growing audiences. */
export async function runBroadcast(options: BenchOptions): Promise<Section[]> {
  const plans = options.isQuick ? QUICK_PLANS : PLANS;
  return withServers(chooseContestants(options), async (servers) => {
    const audiences = servers.map((server) => createAudience(server, server.kind.broadcastPath));
    const sections: Section[] = [];
    for (const plan of options.isFull ? [...plans, LARGE_PLAN] : plans) {
      sections.push(
        await runPlan(
          audiences.filter((audience) => takesPart(audience, plan)),
          plan,
        ),
      );
    }
    return sections;
  });
}

function takesPart({ label }: Audience, { audience: size }: Plan): boolean {
  return size <= MAX_AUDIENCE_WITH_NOISE || label !== BY_HAND_AGAIN.label;
}

async function runPlan(audiences: readonly Audience[], plan: Plan): Promise<Section> {
  for (const audience of audiences) {
    await growAudience(audience, plan.audience);
    await measureAudience(audience, WARM_UP_BROADCASTS);
  }
  const title = `Broadcast to ${plan.audience} sockets`;
  const rounds = await runRounds(title, audiences, {
    count: plan.rounds,
    measure: (audience) => measureAudience(audience, plan.broadcasts),
  });
  return compareServers(title, FIGURES, rounds);
}
