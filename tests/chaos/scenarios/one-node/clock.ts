/** F27: the clock is set back by an hour and forward by a day, while the service runs. */
import type { Message } from '../../../../utils/protocol';
import { openClient, type TestClient } from '../../../support/client';
import { forgeClaims } from '../../../support/forged-tokens';
import { connectPlain } from '../../../support/plain-client';
import { testToken } from '../../../support/service';
import { type Answer, request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { preload, trigger } from '../../preload';
import { readInbox } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { until } from '../../until';

const HOUR_SECONDS = 3_600;
const BACK_MS = -HOUR_SECONDS * 1_000;
/** A day after the hour back. */
const FORWARD_MS = 23 * HOUR_SECONDS * 1_000;
const PATIENCE_MS = 30_000;
/** Consecutive sends, before and after each change of the clock. */
const SENDS = 30;
/** Tokens without times, for what continues whatever the clock says. */
const SERVICE = forgeClaims({ sub: 'service', scope: 'send presence' });
const ANNA = forgeClaims({ sub: 'anna' });

interface Run {
  readonly node: ChaosNode;
  readonly anna: TestClient;
  /** Of everything answered or delivered, by `seq`. */
  readonly ids: Map<number, string>;
  lastSeq: number;
  readonly violations: string[];
}

async function runSet(): Promise<Outcome> {
  const shifts = JSON.stringify([BACK_MS, FORWARD_MS]);
  const env = { ...preload('clock'), CLOCK_SHIFTS: shifts, PING_INTERVAL_MS: '500', PING_TIMEOUT_MS: '500' };
  const node = await startOne({ env });
  const anna = await connect(node, 'phone');
  const run: Run = { node, anna, ids: new Map(), lastSeq: 0, violations: [] };
  const silent = await connectSilent(node);
  const expiring = openClient(node.url, { auth: { token: testToken('ben') }, reconnection: false });
  await expiring.next('sync:done');
  const brief = await send(run, { ttl: 2 * HOUR_SECONDS, data: 'brief' });
  await schedule(run, 2 * HOUR_SECONDS);

  await Promise.all([sendSome(run), setClock(node)]);
  await checkTokens(run, BACK_MS);
  await checkStill(run, brief);
  await checkSilent(run, silent);
  await checkLobby(run);
  await Promise.all([sendSome(run), setClock(node)]);
  await checkTokens(run, FORWARD_MS);
  await checkPassed(run, { brief, expiring });
  // Back by a day: the next process knows nothing of the previous clock.
  await node.kill(0);
  await anna.next('disconnect');
  await sendSome(run);
  await checkOrder(run, brief);
  return {
    violations: [...run.violations, ...(await node.conclude())],
    figures: { sends: run.ids.size },
    evidence: { log: node.log },
  };
}

function setClock(node: ChaosNode): Promise<void> {
  return trigger(node, 'clock set');
}

async function connect({ url }: ChaosNode, device: string): Promise<TestClient> {
  const client = openClient(url, { auth: { token: ANNA, device }, reconnection: false });
  client.socket.on('message', ({ topic, seq }: Message) => client.socket.emit('ack', { topic, seq }));
  await client.next('sync:done');
  return client;
}

/** A plain connection that no longer answers heartbeats, as if its host were gone. */
async function connectSilent({ url }: ChaosNode): Promise<{ readonly closed: Promise<unknown> }> {
  const client = await connectPlain(url, 'silent');
  client.socket.pong = () => undefined;
  return client;
}

async function post({ node }: Pick<Run, 'node'>, fields: object): Promise<Answer | undefined> {
  const body = { userId: 'anna', type: 'test', data: 1, ...fields };
  return request(`${node.url}/websocket/message/user`, {
    method: 'POST',
    token: SERVICE,
    body,
    timeoutMs: PATIENCE_MS,
  });
}

/** @returns the id. */
async function send(run: Run, fields: object = {}): Promise<string> {
  const answer = await post(run, fields);
  const id = String(answer?.body['id']);
  const seq = Number(answer?.body['seq']);
  if (answer?.status !== 200 || !(seq > run.lastSeq)) {
    run.violations.push(`I3: after ${run.lastSeq} a send was answered ${JSON.stringify(answer)}`);
  }
  run.lastSeq = seq;
  run.ids.set(seq, id);
  return id;
}

async function sendSome(run: Run): Promise<void> {
  for (let n = 0; n < SENDS; n += 1) await send(run);
}

async function schedule(run: Run, delay: number): Promise<void> {
  const answer = await post(run, { delay, data: 'scheduled' });
  if (answer?.status !== 202) run.violations.push(`a scheduled send was answered ${JSON.stringify(answer)}`);
}

/** Tokens are judged by the current clock: `nbf` and `iat` with a minute of tolerance, `exp` with none. */
async function checkTokens({ node, violations }: Run, shiftMs: number): Promise<void> {
  const now = Math.floor((Date.now() + shiftMs) / 1_000);
  const cases: [string, object, number][] = [
    ['iat in 50 s', { iat: now + 50 }, 200],
    ['iat in 70 s', { iat: now + 70 }, 401],
    ['nbf in 50 s', { nbf: now + 50 }, 200],
    ['nbf in 70 s', { nbf: now + 70 }, 401],
    ['exp in 30 s', { exp: now + 30 }, 200],
    ['exp 2 s ago', { exp: now - 2 }, 401],
  ];
  for (const [name, times, status] of cases) {
    const answer = await request(`${node.url}/inbox/counts`, { token: forgeClaims({ sub: 'anna', ...times }) });
    if (answer?.status !== status) violations.push(`a token with ${name} was answered ${answer?.status}`);
  }
}

/** An hour back: nothing has expired, and no scheduled message has been sent. */
async function checkStill({ node, violations }: Run, brief: string): Promise<void> {
  const items = await inboxOf(node);
  if (!items.some(({ id }) => id === brief)) violations.push('a message expired when the clock was set back');
  if (items.some(({ data }) => data === 'scheduled')) violations.push('a scheduled message was sent too soon');
}

interface Item {
  readonly id: string;
  readonly seq: number;
  readonly data: unknown;
}

async function inboxOf({ url }: ChaosNode): Promise<readonly Item[]> {
  const answer = await request(`${url}/inbox?limit=200`, { token: ANNA, timeoutMs: PATIENCE_MS });
  return (answer?.body['items'] ?? []) as Item[];
}

/** A client that does not answer is cut as soon as ever. */
async function checkSilent({ violations }: Run, { closed }: { readonly closed: Promise<unknown> }): Promise<void> {
  const isCut = await settles(closed);
  if (!isCut) violations.push('a silent connection was kept when the clock was set back');
}

/** A user who leaves is reported after the grace period, and not when the clock has caught up. */
async function checkLobby({ node, violations }: Run): Promise<void> {
  const watcher = await connect(node, 'lobby');
  await watcher.call('presence:subscribe');
  const leaving = openClient(node.url, { auth: { token: forgeClaims({ sub: 'carla' }) }, reconnection: false });
  await watcher.next('presence:join');
  leaving.close();
  if (!(await settles(watcher.next('presence:leave')))) violations.push('nobody was told who had left');
  watcher.close();
}

async function settles(promise: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), PATIENCE_MS);
  });
  const isSettled = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return isSettled;
}

/** A day forward: expired messages are gone, scheduled ones come once, and the connection of an expired token ends. */
async function checkPassed(run: Run, { brief, expiring }: { brief: string; expiring: TestClient }): Promise<void> {
  const { node, violations, anna } = run;
  const closing = await expiring.next<{ code: string }>('closing');
  if (closing.code !== 'token_expired') violations.push(`a token that was over was told ${JSON.stringify(closing)}`);
  const removed = await anna.next<{ ref: string; reason: string }>('message:removed');
  if (removed.ref !== brief || removed.reason !== 'expired') violations.push(`told ${JSON.stringify(removed)}`);
  const items = await until(
    'the scheduled message is sent',
    PATIENCE_MS,
    () => inboxOf(node),
    (all) => all.some(({ data }) => data === 'scheduled'),
  );
  if (items.some(({ id }) => id === brief)) violations.push('a message was kept beyond its end');
  // It has its position among the others, wherever that is.
  const planned = items.find(({ data }) => data === 'scheduled');
  if (planned !== undefined) run.ids.set(planned.seq, planned.id);
}

/** Whatever the clock has said: the order is that of `seq`, for connected users and for those who come. */
async function checkOrder({ node, anna, ids: places, lastSeq, violations }: Run, brief: string): Promise<void> {
  if (places.size !== lastSeq) violations.push(`I3: ${places.size} messages stand at ${lastSeq} places`);
  const ids = [...places].sort(([one], [other]) => one - other).map(([, id]) => id);
  const kept = ids.filter((id) => id !== brief);
  if (new Set(ids).size !== ids.length) violations.push('I2: an id was given twice');
  const again = await connect(node, 'phone');
  const seen = [...anna.allMessages, ...again.allMessages];
  // A new connection may begin with what came before the process was killed.
  for (const messages of [anna.allMessages, again.allMessages]) {
    const isOrdered = messages.every(({ seq }, index) => index === 0 || seq > (messages[index - 1]?.seq ?? 0));
    if (!isOrdered) violations.push(`I3: delivered in the order ${messages.map(({ seq }) => seq)}`);
  }
  const missing = ids.filter((id) => !seen.some((message) => message.id === id));
  if (missing.length > 0) violations.push(`I1: ${missing.length} messages were not delivered`);
  const listed = (await readInbox(node.url, 'anna')).map(({ id }) => id).reverse();
  if (listed.join() !== kept.join())
    violations.push(`the inbox lists ${listed.length} messages of ${kept.length}, or others`);
}

export const CLOCK: readonly Scenario[] = [
  {
    id: 'F27',
    fault: 'the clock is set back by 1 h, then forward by 1 day, then back during a restart',
    injected: 'a module that the process loads first, during sends',
    expected:
      'the order is that of `seq`; no id or seq is given twice; tokens have at most 60 s of tolerance; expiry and schedule follow the clock; heartbeats and grace periods do not',
    needs: [],
    run: runSet,
  },
];
