/**
 * F2: power fails, and what the operating system had not written yet is lost. A kill -9 cannot show that: the page
 * cache outlives the process. So the order of calls is checked: the flush ends before the answer is written.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { testToken } from '../../../support/service';
import { temporaryDirectory } from '../../../support/temporary';
import { type HttpRequest, request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import type { Outcome, Scenario } from '../../scenario';
import { attach, callsOf, countInjected, SYNC_CALLS, WRITE_CALLS } from '../../strace';

/** A send in each possible way, to be called repeatedly. */
type Send = (n: number) => { readonly path: string } & HttpRequest;

const TOPIC = 'power';
const MESSAGE = { type: 'test', data: 1 };
const user = '/websocket/message/user';
const SENDS: Readonly<Record<string, Send>> = {
  single: () => ({ path: user, body: { userId: 'anna', ...MESSAGE } }),
  idempotent: (n) => ({ path: user, key: `key ${n}`, body: { userId: 'anna', ...MESSAGE } }),
  scheduled: () => ({ path: user, body: { userId: 'anna', ...MESSAGE, delay: 3_600 } }),
  users: () => ({ path: '/websocket/message/users', body: { userIds: ['anna', 'ben'], ...MESSAGE } }),
  batch: () => ({
    path: '/messages/batch',
    body: {
      messages: [
        { userId: 'anna', ...MESSAGE },
        { topic: TOPIC, ...MESSAGE },
      ],
    },
  }),
  topic: () => ({ path: `/topics/${TOPIC}/messages`, body: MESSAGE }),
  broadcast: () => ({ path: '/websocket/message/broadcast', body: MESSAGE }),
  notification: () => ({ path: '/websocket/notification', body: { userId: 'anna', title: 'a', body: 'b' } }),
};
const REPEATS = 4;
const DELAY_MS = 200;
const PATIENCE_MS = 20_000;
const O_DSYNC = 0o10000;

async function runPowerLost(): Promise<Outcome> {
  const directory = temporaryDirectory();
  // Nothing else writes: each flush belongs to the current send.
  const node = await startOne({ env: { DATA_DIR: directory, AUDIT_RETENTION_DAYS: '0' } });
  await sendOnce(node, { path: '/topics', body: { name: TOPIC } });
  const names = Object.keys(SENDS).flatMap((name) => Array.from({ length: REPEATS }, () => name));
  const tracing = await attach(node, ['-y', '-s', '16', '-e', `trace=${SYNC_CALLS},${WRITE_CALLS}`]);
  for (const [n, name] of names.entries()) await sendOnce(node, SENDS[name]?.(n) ?? { path: name });
  await tracing.detach();
  const trace = tracing.lines();
  const answers = judgeAnswers(node, join(directory, 'data.mdb'), trace);
  const violations = answers.flatMap(({ flushes, isFlushed }, index) =>
    flushes > 0 && isFlushed ? [] : [`I1: a send (${names[index]}) was answered before it was flushed`],
  );
  if (answers.length !== names.length) violations.push(`nothing was seen of ${names.length - answers.length} answers`);
  violations.push(...(await findHasty(node)), ...(await node.conclude()));
  return { violations, figures: { 'answers traced': answers.length }, evidence: { trace } };
}

async function sendOnce(node: ChaosNode, { path, ...options }: ReturnType<Send>): Promise<void> {
  const token = testToken('service', { scope: 'send broadcast' });
  const answer = await request(node.url + path, { method: 'POST', token, timeoutMs: PATIENCE_MS, ...options });
  const isDone = answer !== undefined && answer.status < 300 && !JSON.stringify(answer.body).includes('"error"');
  if (!isDone) throw new Error(`${path} was answered ${JSON.stringify(answer)}`);
}

/** For each 2xx answer, in order: how many flushes ended since the one before, and is anything not yet flushed? */
function judgeAnswers(node: ChaosNode, dataFile: string, trace: readonly string[]) {
  const answers: { flushes: number; isFlushed: boolean }[] = [];
  let isFlushed = true;
  let flushes = 0;
  for (const { call, line, isEnd } of callsOf(trace)) {
    const isFlush = SYNC_CALLS.split(',').includes(call.name);
    if (!isEnd && /HTTP\/1\.1 2\d\d/.test(line)) {
      answers.push({ flushes, isFlushed });
      flushes = 0;
    }
    if (call.path !== dataFile) continue;
    if (!isEnd && !isFlush && !isSynchronous(node, call.descriptor)) isFlushed = false;
    if (isEnd && isFlush && / = 0\b/.test(line)) {
      isFlushed = true;
      flushes += 1;
    }
  }
  return answers;
}

/** Is what is written to this descriptor on disk when the call returns? */
function isSynchronous({ process: { child } }: ChaosNode, descriptor: number): boolean {
  const info = readFileSync(`/proc/${child.pid}/fdinfo/${descriptor}`, 'utf8');
  const [, flags = '0'] = /flags:\s+([0-7]+)/.exec(info) ?? [];
  return (Number.parseInt(flags, 8) & O_DSYNC) !== 0;
}

/** While the disk is slow, nothing is answered before it is done. */
async function findHasty(node: ChaosNode): Promise<string[]> {
  const delay = `inject=${SYNC_CALLS}:delay_enter=${DELAY_MS * 1_000}`;
  const tracing = await attach(node, ['-e', `trace=${SYNC_CALLS}`, '-e', delay]);
  const violations: string[] = [];
  for (const [name, send] of Object.entries(SENDS)) {
    const startedAt = performance.now();
    await sendOnce(node, send(-1));
    const milliseconds = Math.round(performance.now() - startedAt);
    if (milliseconds < DELAY_MS)
      violations.push(`I1: a send (${name}) was answered after ${milliseconds} ms, on a disk that takes ${DELAY_MS}`);
  }
  await tracing.detach();
  const held = countInjected(tracing.lines());
  return held >= Object.keys(SENDS).length
    ? violations
    : [...violations, `nothing was tried: ${held} flushes were held up`];
}

export const POWER: readonly Scenario[] = [
  {
    id: 'F2',
    fault: 'power fails, and unflushed data with it',
    injected: 'strace: the order of flushes and answers, for every way to send; each flush is delayed',
    expected: 'a send is answered after its flush has ended',
    needs: ['strace'],
    tells: ['answers traced'],
    run: runPowerLost,
  },
];
