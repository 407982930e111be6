/**
 * Puts load on a service, measures it, and checks that everything arrives once and in order.
 *   npm run load -- --users 1000 --rate 200
 */

import { readCommandLine, UsageError } from '../utils/command-line';
import { parseConfig } from '../utils/config';
import { readAccess } from './support/access';
import { COMMON_OPTIONS, readCount, readSeconds } from './support/arguments';
import type { LoadPlan } from './support/load/plan';
import { renderReport } from './support/load/report';
import { runLoad } from './support/load/run';
import { checkingVariable, makeLocalToken } from './support/local-token';
import { type Command, runHere, type Terminal } from './support/terminal';

const USAGE = `Puts load on a service, measures it, and checks that every message arrives once and in order. Ctrl-C ends early.

Usage:
  npm run load -- [--users N] [--rate N] [--duration TIME]

  --users N           users load-1, load-2, …; default: 100
  --connections N     in total, spread over the users; default: one per user
  --rate N            messages to single users, per second; default: 50
  --broadcast-rate N  messages to everyone, per second; default: 0
  --duration TIME     30s, 5m, 1h, …; default: 30s
  --json              print the summary as JSON
  --yes               allow a service on another machine

Service:
  --url URL           default: http://localhost:PORT
  --token TOKEN       the sender's; default: TIDINGS_TOKEN, otherwise a token made here. Tokens of the users are
                      always made here
`;

const OPTIONS = {
  ...COMMON_OPTIONS,
  users: { type: 'string', default: '100' },
  connections: { type: 'string' },
  rate: { type: 'string', default: '50' },
  'broadcast-rate': { type: 'string', default: '0' },
  duration: { type: 'string', default: '30s' },
  yes: { type: 'boolean', default: false },
} as const;

type Given = ReturnType<typeof readCommandLine<typeof OPTIONS>>['values'];

const MAX_CONNECTIONS = 60_000;
const MAX_RATE = 100_000;
const MAX_SECONDS = 86_400;
const TOKEN_SECONDS = 2 * MAX_SECONDS;
const MAX_MESSAGES = 10_000_000;
const MAX_DELIVERIES = 1_000_000_000;

export const load: Command = async (args, terminal) => {
  const given = readCommandLine(args, { options: OPTIONS, usage: USAGE, env: terminal.env }).values;
  if (given.help) {
    terminal.stdout.write(USAGE);
    return 0;
  }
  const plan = readPlan(given);
  const makeToken = readTokenMaker(terminal.env);
  const access = readAccess(given, terminal.env, { sub: 'load', scope: 'send broadcast' });
  if (!given.yes && !isThisMachine(access.origin)) {
    throw new UsageError(`${access.origin} is another machine: confirm with --yes that it may get this load.`);
  }
  const { report, tally } = await runLoad({ plan, access, makeToken }, terminal);
  terminal.stdout.write(given.json ? `${JSON.stringify(report)}\n` : renderReport(report, tally));
  return report.isFaultless ? 0 : 1;
};

function readPlan(given: Given): LoadPlan {
  const users = readCount('--users', given.users, { minimum: 1, maximum: MAX_CONNECTIONS });
  const connections = given.connections ?? given.users;
  const seconds = readSeconds('--duration', given.duration);
  if (seconds < 1 || seconds > MAX_SECONDS) throw new UsageError('--duration must be a time from 1s to 1d.');
  const plan = {
    users,
    connections: readCount('--connections', connections, { minimum: users, maximum: MAX_CONNECTIONS }),
    rate: readCount('--rate', given.rate, { minimum: 1, maximum: MAX_RATE }),
    broadcastRate: readCount('--broadcast-rate', given['broadcast-rate'], { minimum: 0, maximum: MAX_RATE }),
    seconds,
  };
  assertCountable(plan);
  return plan;
}

/** Each message and each delivery is remembered until the end. */
function assertCountable({ users, connections, rate, broadcastRate, seconds }: LoadPlan): void {
  const messages = (rate + broadcastRate) * seconds;
  const deliveries = ((rate / users + broadcastRate) * seconds + 1) * connections;
  if (messages <= MAX_MESSAGES && deliveries <= MAX_DELIVERIES) return;
  throw new UsageError('--duration is too long to check every message at the end: shorten it, or lower the rates.');
}

/** Makes a token for each user, with the local secret. */
function readTokenMaker(env: Terminal['env']): (sub: string) => string {
  const config = parseConfig(env);
  const checking = checkingVariable(config.tokenKey);
  if (checking !== undefined) {
    throw new UsageError(`Each user needs a token, and ${checking} only verifies tokens: set JWT_SECRET instead.`);
  }
  return (sub) => makeLocalToken(config, { sub, lifetimeSeconds: TOKEN_SECONDS });
}

function isThisMachine(origin: string): boolean {
  const { hostname } = new URL(origin);
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

if (require.main === module) void runHere(load);
