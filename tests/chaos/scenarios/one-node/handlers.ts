/** F35 and F36: an operation throws something unexpected. */
import { openClient } from '../../../support/client';
import { connectPlain } from '../../../support/plain-client';
import { testToken } from '../../../support/service';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { preload } from '../../preload';
import type { Outcome, Scenario } from '../../scenario';

/** `unlucky`: it throws at once; `hapless`: it rejects. See preload/throwing.js. */
const VICTIMS = ['unlucky', 'hapless'];
const SECRET = 'this text is for the log only';

interface Told {
  readonly where: string;
  readonly body: unknown;
}

async function runThrowing(): Promise<Outcome> {
  const node = await startOne({ env: preload('throwing') });
  const told: Told[] = [];
  for (const userId of VICTIMS) {
    told.push(
      ...(await askOverHttp(node, userId)),
      ...(await askOverSocket(node, userId)),
      ...(await askOverPlain(node, userId)),
    );
  }
  const violations = [
    ...(await findUncounted(node, told.length)),
    ...(await findHarmed(node)),
    ...(await node.conclude()),
    ...told.flatMap((one) => findWrong(one, node)),
  ];
  return { violations, figures: { faults: told.length }, evidence: { told, log: node.log } };
}

async function askOverHttp({ url }: ChaosNode, userId: string): Promise<Told[]> {
  const token = testToken(userId, { scope: 'send' });
  const message = { userId: 'anna', type: 'test', data: 1 };
  const answers = [
    await request(`${url}/inbox`, { token }),
    await request(`${url}/websocket/message/user`, { method: 'POST', token, body: message }),
    await request(`${url}/websocket/message/user`, { method: 'POST', token, body: message, key: 'a key' }),
    await request(`${url}/topics`, { method: 'POST', token, body: { name: 'news' } }),
  ];
  return answers.map((answer) => ({
    where: 'HTTP',
    body: answer?.status === 500 ? answer.body : answer,
  }));
}

async function askOverSocket({ url }: ChaosNode, userId: string): Promise<Told[]> {
  const client = openClient(url, { auth: { token: testToken(userId) } });
  await client.next('sync:done');
  const events: [string, object][] = [
    ['state', { all: true, state: 'read' }],
    ['topic:create', { name: 'news' }],
  ];
  const told: Told[] = [];
  for (const [event, payload] of events) told.push({ where: event, body: errorIn(await client.call(event, payload)) });
  // The socket is still open.
  await client.settle();
  client.close();
  return told;
}

async function askOverPlain({ url }: ChaosNode, userId: string): Promise<Told[]> {
  const client = await connectPlain(url, userId);
  const told: Told[] = [{ where: 'plain create', body: errorIn(await client.call('create', { topic_name: 'news' })) }];
  await client.settle();
  client.close();
  return told;
}

function errorIn(reply: object): unknown {
  return 'error' in reply ? reply.error : reply;
}

/** The caller receives `internal`, nothing of the fault itself, and an id that finds it in the log. */
function findWrong({ where, body }: Told, { log }: ChaosNode): string[] {
  const { code, requestId } = (body ?? {}) as { code?: string; requestId?: string };
  const text = JSON.stringify(body);
  const violations: string[] = [];
  if (code !== 'internal') violations.push(`${where} was told ${text}, and not \`internal\``);
  if (text.includes(SECRET)) violations.push(`${where} was told of the fault itself`);
  const lines = log.filter((line) => requestId !== undefined && line.includes(requestId) && line.includes(SECRET));
  if (lines.length !== 1) violations.push(`${where}: ${lines.length} lines of the log have request ${requestId}`);
  return violations;
}

async function findUncounted({ url }: ChaosNode, faults: number): Promise<string[]> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const [, count = '0'] = /^tidings_refusals_total\{[^}]*code="internal"[^}]*\} (\d+)/m.exec(text) ?? [];
  return Number(count) === faults ? [] : [`${count} of ${faults} faults were counted`];
}

/** Others are served as before. */
async function findHarmed({ url }: ChaosNode): Promise<string[]> {
  const client = openClient(url, { auth: { token: testToken('anna') } });
  await client.next('sync:done');
  const token = testToken('service', { scope: 'send' });
  const body = { userId: 'anna', type: 'test', data: 'well' };
  const answer = await request(`${url}/websocket/message/user`, { method: 'POST', token, body });
  if (answer?.status !== 200) return [`another send was answered ${JSON.stringify(answer)}`];
  const [message] = await client.messages(1);
  return message?.data === 'well' ? [] : [`another user got ${JSON.stringify(message)}`];
}

export const HANDLERS: readonly Scenario[] = [
  {
    id: 'F35 F36',
    fault: 'an operation throws, or rejects with, something unexpected',
    injected: 'a module that the process loads first, for two users, over HTTP and both sockets',
    expected:
      'logged with the request id, counted; the caller receives `internal`, the process lives, others are served',
    needs: [],
    tells: ['faults'],
    run: runThrowing,
  },
];
