/** F4 and F5: the disk fails, or is full, while messages are sent. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Message } from '../../../../utils/protocol';
import { openClient, type TestClient } from '../../../support/client';
import type { Random } from '../../../support/random';
import { testToken } from '../../../support/service';
import { onTestEnd, temporaryDirectory } from '../../../support/temporary';
import { type Answer, request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { readInbox, runRound, type Stage } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { attach, WRITE_CALLS } from '../../strace';
import { pace } from '../../until';

const LOAD_MS = 4_000;
/** What takes longer hangs. */
const PATIENCE_MS = 5_000;
/** Whoever sends to her is no part of the load. */
const GRETA = 'greta';
const TOPIC = 'disk';

interface Refusal {
  readonly status: number;
  readonly code: string;
}

interface DiskFault extends Refusal {
  readonly name: string;
  /** Is no send accepted while it is on? Otherwise some are, and each kind of send is tried until one is not. */
  readonly isTotal: boolean;
  /** Is `/readyz` 503 while it is on? */
  readonly isRed: boolean;
  begin(node: ChaosNode): Promise<Begun>;
}

interface Begun {
  /** Has it shown? */
  hasBitten(): boolean;
  end(): Promise<void>;
}

/** Calls on the data file fail; `bites`: a line of the trace that must be there. */
function failing(inject: string, bites: RegExp, dataFile: string): DiskFault['begin'] {
  return async (node) => {
    const tracing = await attach(node, ['-P', dataFile, '-e', `inject=${inject}`]);
    const hasBitten = () => tracing.lines().some((line) => line.includes('(INJECTED)') && bites.test(line));
    return { hasBitten, end: () => tracing.detach() };
  };
}

const EIO = { status: 503, code: 'store_unavailable' } as const;
const ENOSPC = { status: 507, code: 'store_full' } as const;
const TOTAL = { isTotal: true, isRed: true } as const;

async function runFailing(random: Random): Promise<Outcome> {
  const directory = temporaryDirectory();
  const file = join(directory, 'data.mdb');
  // Headers are 128 bytes: when that write fails, the engine has to be opened anew. Pages are written by the same call,
  // so that one in seven fails: else it would never come to the header.
  const inHeader = failing('pwrite64:error=EIO:when=7+7', /, 128, \d+\)/, file);
  const faults: DiskFault[] = [
    { name: 'flush', ...EIO, ...TOTAL, begin: failing('fdatasync:error=EIO', /fdatasync/, file) },
    { name: 'write', ...EIO, ...TOTAL, begin: failing('writev,pwritev,pwrite64:error=EIO', /write/, file) },
    { name: 'header', ...EIO, isTotal: false, isRed: false, begin: inHeader },
  ];
  return runRoundOn(directory, faults, random);
}

async function runFull(random: Random): Promise<Outcome> {
  const disk = mountSmallDisk();
  const directory = join(disk ?? temporaryDirectory(), 'store');
  const injected = failing(`${WRITE_CALLS}:error=ENOSPC`, /write/, join(directory, 'data.mdb'));
  // On a real disk there is room in the file itself for a while.
  const fault: DiskFault =
    disk === undefined
      ? { name: 'full', ...ENOSPC, ...TOTAL, begin: injected }
      : { name: 'full', ...ENOSPC, isTotal: false, isRed: true, begin: () => Promise.resolve(fill(disk)) };
  const outcome = await runRoundOn(directory, [fault], random);
  return { ...outcome, figures: { ...outcome.figures, disk: disk === undefined ? 'injected' : 'tmpfs' } };
}

const DISK_BYTES = 8 * 1024 * 1024;

/** A disk of its own, where this user may have one. */
function mountSmallDisk(): string | undefined {
  const directory = temporaryDirectory();
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory]);
  if (status !== 0) return undefined;
  onTestEnd(() => void spawnSync('umount', ['--lazy', directory]));
  return directory;
}

/** Takes what is left of a disk. */
function fill(disk: string): Begun {
  const path = join(disk, 'filler');
  const file = openSync(path, 'w');
  let isFull = false;
  for (let size = 0; size < DISK_BYTES && !isFull; ) {
    try {
      size += writeSync(file, Buffer.alloc(4_096));
    } catch (error) {
      isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    }
  }
  closeSync(file);
  const end = async () => rmSync(path);
  return { hasBitten: () => isFull, end };
}

/** One fault after the other, and each looked at from all sides; what becomes of the load is judged with the round. */
async function runRoundOn(directory: string, faults: readonly DiskFault[], random: Random): Promise<Outcome> {
  mkdirSync(directory, { recursive: true });
  const node = await startOne({ env: { DATA_DIR: directory } });
  const violations: string[] = [];
  const greta = new Outsider(node);
  await greta.prepare();
  const disturb = async (stage: Stage) => {
    for (const fault of faults) {
      await pace(random.integer(50, 300));
      violations.push(
        ...(await disturbOnce(fault, node, { stage, greta })).map((sentence) => `${fault.name}: ${sentence}`),
      );
    }
    // What was opened anew after a fault is as durable as before.
    await node.kill(0);
    violations.push(...(await greta.findUnkept()));
  };
  const outcome = await runRound({
    random,
    nodes: [node],
    loadMs: LOAD_MS,
    disturb,
    figures: { faults: faults.length },
  });
  return { ...outcome, violations: [...violations, ...outcome.violations] };
}

async function disturbOnce(
  fault: DiskFault,
  node: ChaosNode,
  { stage, greta }: { stage: Stage; greta: Outsider },
): Promise<string[]> {
  const connections = () => stage.devices.reduce((sum, device) => sum + device.connections, 0);
  const before = connections();
  const { hasBitten, end } = await fault.begin(node);
  const violations = [
    ...(await greta.findAccepted(fault, hasBitten)),
    ...(fault.isRed ? await expectStatus(node, '/readyz', 503) : []),
    ...(await expectStatus(node, '/livez', 200)),
    ...(await greta.findUndelivered()),
  ];
  if (!hasBitten()) violations.push('nothing was tried');
  await end();
  violations.push(...(await greta.findRefused()), ...(await expectStatus(node, '/readyz', 200)));
  if (connections() !== before) violations.push('clients that were connected were cut');
  return violations;
}

async function expectStatus(node: ChaosNode, path: string, status: number): Promise<string[]> {
  const answer = await request(node.url + path, { timeoutMs: PATIENCE_MS });
  return answer?.status === status ? [] : [`${path} answered ${JSON.stringify(answer)}, and not ${status}`];
}

/** Enough to use up what is free in the file. */
const MAX_TRIES = 200;
const PADDING = 'x'.repeat(8_000);

type Send = (key: string) => { readonly path: string; readonly body: object; readonly key?: string };

const OUTSIDE = { type: 'outside', data: PADDING };
const USER = '/websocket/message/user';
const SENDS: Readonly<Record<string, Send>> = {
  user: (n) => ({ path: USER, body: { userId: GRETA, ...OUTSIDE, id: n } }),
  keyed: (key) => ({ path: USER, body: { userId: GRETA, ...OUTSIDE }, key }),
  scheduled: (n) => ({ path: USER, body: { userId: GRETA, ...OUTSIDE, delay: 3_600, id: n } }),
  topic: (n) => ({ path: `/topics/${TOPIC}/messages`, body: { ...OUTSIDE, id: n } }),
  batch: (n) => ({ path: '/messages/batch', body: { messages: [{ userId: GRETA, ...OUTSIDE, id: n }] } }),
};

/** Sends in each of the ways there are, and receives, beside the load: so each answer can be looked at. */
class Outsider {
  #live: TestClient | undefined;
  #count = 0;
  /** Ids that were answered 2xx and are in her inbox. */
  readonly #kept = new Set<string>();
  #refused: ReturnType<Send>[] = [];

  constructor(private readonly node: ChaosNode) {}

  #post({ path, ...options }: ReturnType<Send>): Promise<Answer | undefined> {
    const token = testToken('outsider', { scope: 'send' });
    return request(this.node.url + path, { method: 'POST', token, timeoutMs: PATIENCE_MS, ...options });
  }

  /** Greta has one device that is here, and one that comes later. */
  async prepare(): Promise<void> {
    await this.#post({ path: '/topics', body: { name: TOPIC } });
    this.#live = await this.#connect('here');
    (await this.#connect('later')).close();
    await this.findRefused();
  }

  async #connect(device: string): Promise<TestClient> {
    const client = openClient(this.node.url, { auth: { token: testToken(GRETA), device }, reconnection: true });
    await client.next('sync:done');
    return client;
  }

  /** While it lasts no send hangs, and each that is not accepted is told why. */
  async findAccepted(fault: DiskFault, hasBitten: () => boolean): Promise<string[]> {
    const violations: string[] = [];
    for (const [name, send] of Object.entries(SENDS)) {
      const answers = fault.isTotal
        ? [await this.#sendOnce(send)]
        : await this.#sendUntilRefused(send, fault, hasBitten);
      const wrong = answers.filter((answer) => !isRefused(answer, fault) && (fault.isTotal || !isAccepted(answer)));
      violations.push(...wrong.map((answer) => `a send (${name}) was answered ${JSON.stringify(answer)}`));
      if (!answers.some((answer) => isRefused(answer, fault))) violations.push(`no send (${name}) was refused`);
    }
    return violations;
  }

  async #sendUntilRefused(send: Send, fault: DiskFault, hasBitten: () => boolean): Promise<(Answer | undefined)[]> {
    const answers: (Answer | undefined)[] = [];
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const answer = await this.#sendOnce(send);
      answers.push(answer);
      if (answer === undefined || (isRefused(answer, fault) && hasBitten())) break;
    }
    return answers;
  }

  async #sendOnce(send: Send): Promise<Answer | undefined> {
    this.#count += 1;
    const sent = send(`outside ${this.#count}`);
    const answer = await this.#post(sent);
    if (isAccepted(answer)) this.#keep(answer);
    else this.#refused.push(sent);
    return answer;
  }

  #keep({ body }: Answer): void {
    const { id, topic, scheduledFor } = (body['results'] as [Answer['body']] | undefined)?.[0] ?? body;
    if (topic === `@${GRETA}` && scheduledFor === undefined) this.#kept.add(String(id));
  }

  /** What is stored is delivered to who comes, and what is only live to who is there. */
  async findUndelivered(): Promise<string[]> {
    const later = await this.#connect('later');
    // The device has acknowledged nothing: the first page comes each time.
    const got = later.allMessages.length;
    later.close();
    const body = { userId: GRETA, ...OUTSIDE, data: 'live', persist: false };
    const answer = await this.#post({ path: USER, body });
    if (answer?.status === 200) while ((await this.#live?.next<Message>('message'))?.data !== 'live');
    return [
      ...(got > 0 ? [] : ['what is stored was not delivered']),
      ...(answer?.status === 200 ? [] : [`a live message was answered ${JSON.stringify(answer)}`]),
    ];
  }

  /** When the fault is over the next send is accepted, and so is what was refused, under the same ids and keys. */
  async findRefused(): Promise<string[]> {
    this.#count += 1;
    const sends = [SENDS['user']?.(`outside ${this.#count}`), ...this.#refused.splice(0)];
    const violations: string[] = [];
    for (const send of sends) {
      const answer = send && (await this.#post(send));
      if (isAccepted(answer)) this.#keep(answer);
      else violations.push(`a send was answered ${JSON.stringify(answer)} when all was well again`);
    }
    return violations;
  }

  /** What was answered 2xx is there, and once; and nothing else. */
  async findUnkept(): Promise<string[]> {
    await this.node.healthy();
    const items = (await readInbox(this.node.url, GRETA)).filter(({ topic }) => topic === `@${GRETA}`);
    const ids = new Set(items.map(({ id }) => id));
    const lost = [...this.#kept].filter((id) => !ids.has(id));
    const extra = items.filter(({ id }) => !this.#kept.has(id)).map(({ id }) => id);
    return [
      ...(lost.length > 0 ? [`I1: ${lost.length} sends were answered 2xx and are lost: ${lost[0]} …`] : []),
      ...(extra.length > 0 ? [`${extra.length} sends were refused and are stored: ${extra[0]} …`] : []),
      ...(ids.size === items.length ? [] : ['I2: an id is in the inbox twice']),
    ];
  }
}

function isAccepted(answer: Answer | undefined): answer is Answer {
  return answer !== undefined && answer.status < 300 && codesIn(answer).length === 0;
}

function isRefused(answer: Answer | undefined, { status, code }: Refusal): boolean {
  if (answer?.body['results'] !== undefined) return codesIn(answer).join() === code;
  return answer?.status === status && answer.body['code'] === code;
}

/** Of the items of a batch. */
function codesIn({ body }: Answer): string[] {
  const results = (body['results'] ?? []) as { error?: { code: string } }[];
  return results.flatMap(({ error }) => error?.code ?? []);
}

export const DISK: readonly Scenario[] = [
  {
    id: 'F4',
    fault: 'the disk fails',
    injected: 'strace lets flushes, then writes, then writes of the header fail with EIO, under load; then SIGKILL',
    expected:
      'sends are refused with 503, /readyz is 503, what is stored is delivered; recovers by itself, and nothing is lost',
    needs: ['strace'],
    rounds: 2,
    run: runFailing,
  },
  {
    id: 'F5',
    fault: 'the disk is full',
    injected:
      'a small disk filled by another file (ENOSPC by strace where none can be mounted), under load; then SIGKILL',
    expected:
      'sends are refused with 507, /readyz is 503, what is stored is delivered; recovers when there is space, and nothing is lost',
    needs: ['strace'],
    tells: ['disk'],
    rounds: 1,
    run: runFull,
  },
];
