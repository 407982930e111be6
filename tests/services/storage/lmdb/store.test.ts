/** The embedded engine: the contract, and what only a store in files has to survive. */
import { once } from 'node:events';
import fs, { chmodSync, mkdirSync, readFileSync, renameSync, type StatsFs, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Key, open as openEnvironment } from 'lmdb';
import { type Draft, type Store, StoreOpenError } from '../../../../services/storage/contract';
import { checkHeaders } from '../../../../services/storage/lmdb/file';
import type * as layout from '../../../../services/storage/lmdb/layout';
import { DATABASES, type Trees } from '../../../../services/storage/lmdb/layout';
import { openLmdbStore } from '../../../../services/storage/lmdb/store';
import { systemClock } from '../../../../utils/clock';
import { describeStoreContract } from '../../../contracts/store.contract';
import { append, draft, SettableClock, second } from '../../../contracts/support';
import { type RunningProcess, run } from '../../../support/process';
import { type Random, seededRandom } from '../../../support/random';
import type { StoreReport } from '../../../support/store-process';
import { onTestEnd, temporaryDirectory } from '../../../support/temporary';
import { collectUncaught } from '../../../support/uncaught';

const mockTrees: Trees[] = [];

// What a range of the engine shows can only be changed in its trees.
jest.mock('../../../../services/storage/lmdb/layout', () => {
  const actual = jest.requireActual<typeof layout>('../../../../services/storage/lmdb/layout');
  const openTrees: typeof layout.openTrees = (root) => {
    const trees = actual.openTrees(root);
    mockTrees.push(trees);
    return trees;
  };
  return { ...actual, openTrees };
});

const SCRIPT = join(__dirname, '../../../support/store-process.ts');
const PAGE_BYTES = 4_096;
/** In each of the two header pages: magic, version, then the fields that say where the trees begin. */
const HEADER = { magic: 24, fields: 32, end: 160 } as const;

describeStoreContract('lmdb', () => {
  const directory = temporaryDirectory();
  const clock = new SettableClock();
  return { clock, open: () => openLmdbStore(directory, clock) };
});

function runStoreProcess(args: readonly string[], env: Record<string, string> = {}): RunningProcess {
  return run(process.execPath, ['--import', 'tsx', SCRIPT, ...args], env);
}

function openStore(directory: string): Store {
  const store = openLmdbStore(directory, systemClock);
  onTestEnd(() => store.close());
  return store;
}

async function makeStore(directory: string): Promise<void> {
  const store = openStore(directory);
  await store.log.append(draftOf(1));
  await store.close();
}

function openError(directory: string): StoreOpenError {
  try {
    openStore(directory);
  } catch (error) {
    if (error instanceof StoreOpenError) return error;
    throw error;
  }
  throw new Error('the store was opened');
}

function draftOf(n: number, data: unknown = n): Draft {
  const topic = n % 3 === 0 ? '@ben' : '@anna';
  const timestamp = '2026-01-01T00:00:00.000Z';
  return { id: `id ${n}`, isClientId: n % 2 === 0, topic, type: 'test', data, timestamp, from: 'test' };
}

describe('a range that ends before its log does', () => {
  const empty = () => [] as unknown as ReturnType<Trees['messages']['getRange']>;

  async function openWithThree(): Promise<{ store: Store; range: jest.SpyInstance }> {
    const store = openStore(temporaryDirectory());
    for (const n of [1, 2, 4]) await store.log.append(draftOf(n));
    const range = jest.spyOn((mockTrees.at(-1) as Trees).messages, 'getRange');
    onTestEnd(() => range.mockRestore());
    return { store, range };
  }

  it('is not the end of the log', async () => {
    const { store, range } = await openWithThree();
    range.mockImplementationOnce(empty).mockImplementationOnce(empty);
    expect(await store.log.read('@anna', { after: 1, limit: 10 })).toMatchObject({ position: 3, messages: [{}, {}] });
  });

  it('again and again is a fault', async () => {
    const { store, range } = await openWithThree();
    range.mockImplementation(empty);
    await expect(store.log.read('@anna', { after: 1, limit: 10 })).rejects.toThrow('reaches 3');
  });
});

describe('a directory', () => {
  it('is made when it is missing', async () => {
    const directory = join(temporaryDirectory(), 'some/where');
    const store = openStore(directory);
    await store.log.append(draftOf(1));
    await store.close();
    expect(await openStore(directory).log.head('@anna')).toBe(1);
  });

  it('may be left as soon as it was opened', async () => {
    const directory = temporaryDirectory();
    // In a separate process: if it hung here, all tests would.
    const [code] = (await once(runStoreProcess(['touch', directory]).child, 'close')) as [number | null];
    expect(code).toBe(0);
    expect(await openStore(directory).log.head('@anna')).toBe(0);
  });

  it('that is missing while the store is open refuses what waits, and is used again when it is back', async () => {
    const uncaught = collectUncaught();
    const directory = join(temporaryDirectory(), 'store');
    const store = openStore(directory);
    await store.log.append(draftOf(1));
    renameSync(directory, `${directory}-away`);
    const refused = await Promise.allSettled([
      store.log.append(draftOf(2)),
      store.probe(),
      store.log.append(draftOf(4)),
    ]);
    for (const one of refused) {
      expect(one).toMatchObject({ status: 'rejected', reason: { name: 'StoreError', isFull: false } });
    }
    expect(store.queuedWrites).toBe(0);
    renameSync(`${directory}-away`, directory);
    expect(await store.log.append(draftOf(5))).toMatchObject({ outcome: 'stored', message: { seq: 2 } });
    expect(uncaught).toEqual([]);
  });

  it('may have been left in the middle of the first start', async () => {
    const directory = temporaryDirectory();
    await openEnvironment({ path: directory, noSubdir: false, maxDbs: 6 }).close();
    const store = openStore(directory);
    expect((await store.log.append(draftOf(1))).outcome).toBe('stored');
  });

  it('that is a file is refused', () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, 'something else');
    for (const directory of [file, join(file, 'below')]) expect(openError(directory).message).toContain(directory);
    expect(readFileSync(file, 'utf8')).toBe('something else');
  });

  it('with a directory in place of the data file is refused', () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'data.mdb'));
    expect(openError(directory).message).toContain(directory);
  });

  it('of another layout is refused', async () => {
    const directory = temporaryDirectory();
    await makeStore(directory);
    const root = openEnvironment({ path: directory, noSubdir: false, maxDbs: 6 });
    await root.openDB({ name: 'meta', encoding: 'json' }).put('layoutVersion', 99);
    await root.close();
    expect(openError(directory).message).toMatch(/layout 99/);
    // Refused, and not left open.
    expect(openError(directory).message).toMatch(/layout 99/);
  });

  it('of the layout before is migrated: own messages are read, and keys replace those of their sender', async () => {
    const directory = temporaryDirectory();
    const first = openStore(directory);
    await first.devices.open('anna', 'phone');
    await first.topics.create({ name: 'sea', isPrivate: false, owner: 'anna', createdAt: second(0) }, 9);
    for (const topic of ['@anna', '*', 'sea']) await append(first, draft({ topic, from: 'anna' }));
    await append(first, draft({ from: 'shop', collapseKey: 'k' }));
    await first.close();
    const root = openEnvironment({ path: directory, noSubdir: false, maxDbs: DATABASES.length });
    // As it was written: own messages are seen, and the newest message of a key is known, whoever sent it.
    const flags = root.openDB<Buffer, Key>({ name: 'flags', encoding: 'binary' });
    for (const topic of ['@anna', '*', 'sea']) await flags.put([topic, 0, 'anna'], Buffer.from([0, 1]));
    await root.openDB({ name: 'collapsing', encoding: 'json' }).clearAsync();
    await root.openDB<number, Key>({ name: 'collapse', encoding: 'json' }).put(['@anna', 'k'], 2);
    await root.openDB({ name: 'meta', encoding: 'json' }).put('layoutVersion', 2);
    await root.close();
    const store = openStore(directory);
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 4 });
    while (await store.removals.advance());
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
    expect(await store.log.append(draft({ from: 'other', collapseKey: 'k' }))).toMatchObject({ entries: [{ seq: 3 }] });
    expect(await store.log.append(draft({ from: 'shop', collapseKey: 'k' }))).toMatchObject({
      entries: [{ seq: 4, reason: 'replaced' }, { seq: 5 }],
    });
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
  });

  describe('without permission', () => {
    /** Examines a store as a user with limited rights; for users other than root that is oneself. */
    async function lookUnprivileged(directory: string): Promise<StoreReport> {
      const env: Record<string, string> = process.getuid?.() === 0 ? { STORE_PROCESS_UID: '65534' } : {};
      // The directory of the test is for its owner only: the way to the store is to be free.
      chmodSync(dirname(directory), 0o755);
      return JSON.parse(await runStoreProcess(['look', directory], env).line(/^\{/)) as StoreReport;
    }

    it.each([
      ['to make it', (directory: string) => chmodSync(dirname(directory), 0o555)],
      ['to write in it', (directory: string) => mkdirSync(directory, { mode: 0o555 })],
    ])('%s is refused', async (_name, prepare) => {
      const directory = join(temporaryDirectory(), 'store');
      prepare(directory);
      const report = await lookUnprivileged(directory);
      expect(report).toMatchObject({ outcome: 'refused', error: 'StoreOpenError' });
      expect(report).toMatchObject({ message: expect.stringMatching(/permission/i) });
      expect(report).toMatchObject({ message: expect.stringContaining(directory) });
    });

    it('to read the data file is refused, and not reported as damage', async () => {
      const directory = join(temporaryDirectory(), 'store');
      await makeStore(directory);
      chmodSync(join(directory, 'data.mdb'), 0o000);
      const report = await lookUnprivileged(directory);
      expect(report).toMatchObject({ outcome: 'refused', error: 'StoreOpenError' });
      expect(report).toMatchObject({ message: expect.stringMatching(/permission/i) });
      expect(report).toMatchObject({ message: expect.not.stringMatching(/damaged/) });
    });
  });
});

describe('a second opening', () => {
  it('in the same process is refused, whatever the path, and does not harm the first', async () => {
    const parent = temporaryDirectory();
    const directory = join(parent, 'store');
    const link = join(parent, 'link');
    const store = openStore(directory);
    symlinkSync(directory, link);
    for (const path of [directory, link, join(parent, 'other/../store'), `${directory}/`]) {
      const { message } = openError(path);
      expect(message).toContain(`The store in ${path} is in use by this process (${process.pid})`);
    }
    await store.log.append(draftOf(1));
    await store.close();
    expect(await openStore(link).log.head('@anna')).toBe(1);
  });

  it('by another process is refused, naming directory and process, and allowed at once after kill -9', async () => {
    const directory = temporaryDirectory();
    const holder = runStoreProcess(['hold', directory]);
    await holder.line(/^holding$/);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const { message } = openError(directory);
      expect(message).toContain(`The store in ${directory} is in use by process ${holder.child.pid}`);
      expect(message).toMatch(/stop the other one, or give this one another directory/);
    }
    expect(await holder.end('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    const { messages } = await openStore(directory).log.read('@anna', { after: 0, limit: 10 });
    expect(messages.map(({ data, id }) => [id, data])).toEqual([['held', null]]);
  });

  it('by another process is refused while this one has the store and continues to write', async () => {
    const directory = temporaryDirectory();
    const store = openStore(directory);
    const other = runStoreProcess(['look', directory]);
    let report: string | undefined;
    void other.line(/^\{/).then((line) => {
      report = line;
    });
    let seq = 0;
    while (report === undefined && other.child.exitCode === null) {
      await store.log.append({ ...draftOf(1), isClientId: false });
      seq += 1;
    }
    expect(JSON.parse(await other.line(/^\{/))).toMatchObject({
      outcome: 'refused',
      error: 'StoreOpenError',
      message: expect.stringContaining(`is in use by process ${process.pid}`),
    });
    expect(await store.log.head('@anna')).toBe(seq);
  });

  it('of a file that grows while it is examined does not report damage', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'data.mdb');
    const store = openLmdbStore(directory, new SettableClock());
    const before = readFileSync(file);
    await store.log.append(draftOf(1, 'x'.repeat(10 * PAGE_BYTES)));
    await store.close();
    const after = readFileSync(file);
    expect(after.length).toBeGreaterThan(before.length);
    writeFileSync(file, before);
    const { fstatSync } = fs;
    const sizing = jest.spyOn(fs, 'fstatSync').mockImplementationOnce((descriptor) => {
      const status = fstatSync(descriptor);
      writeFileSync(file, after);
      return status;
    });
    onTestEnd(() => sizing.mockRestore());
    checkHeaders(directory);
    expect(sizing).toHaveBeenCalledTimes(1);
  });

  it('for the first time on a full disk is refused; an existing store opens', async () => {
    const directory = temporaryDirectory();
    const room = jest.spyOn(fs, 'statfsSync').mockReturnValue({ bavail: 15, bsize: PAGE_BYTES, blocks: 16 } as StatsFs);
    onTestEnd(() => room.mockRestore());
    expect(openError(directory).message).toMatch(/^The disk of the store in .+ is full: make room, or .+ DATA_DIR\b/);
    room.mockRestore();
    await makeStore(directory);
    const none = jest.spyOn(fs, 'statfsSync').mockReturnValue({ bavail: 0, bsize: PAGE_BYTES, blocks: 16 } as StatsFs);
    onTestEnd(() => none.mockRestore());
    expect(await openStore(directory).log.head('@anna')).toBe(1);
  });

  it('at the same moment leaves at most one process with the store', async () => {
    const directory = temporaryDirectory();
    const rivals = [1, 2, 3].map(() => runStoreProcess(['hold', directory]));
    await Promise.all(rivals.map((rival) => rival.line(/^holding$|in use by process \d+/)));
    const holding = rivals.filter(({ lines }) => lines.includes('holding'));
    expect(holding.length).toBeLessThanOrEqual(1);
  });

  it('of a file that is being made waits for its headers', async () => {
    const [made, directory] = [temporaryDirectory(), temporaryDirectory()];
    await openLmdbStore(made, new SettableClock()).close();
    writeFileSync(join(directory, 'data.mdb'), '');
    // Not in this thread, which is blocked meanwhile.
    const maker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       const { copyFileSync } = require('node:fs');
       parentPort.once('message', () => setTimeout(() => copyFileSync(...workerData), 50));
       parentPort.postMessage('ready');`,
      { eval: true, workerData: [made, directory].map((one) => join(one, 'data.mdb')) },
    );
    await once(maker, 'message');
    maker.postMessage('go');
    const store = openLmdbStore(directory, new SettableClock());
    expect((await append(store, draft())).seq).toBe(1);
    await store.close();
    await maker.terminate();
  });
});

/** What lies on disk, in all trees: a line for each row, with its key and its value as text. */
async function rowsOf(directory: string): Promise<string[]> {
  const root = openEnvironment({ path: directory, noSubdir: false, maxDbs: DATABASES.length });
  const rows = DATABASES.flatMap(({ name }) => {
    const tree = root.openDB<Buffer, Key>({ name, encoding: 'binary' });
    return Array.from(
      tree.getRange({}),
      ({ key, value }) => `${name} ${JSON.stringify(key)} ${value.toString('utf8')}`,
    );
  });
  await root.close();
  return rows;
}

describe('what is removed', () => {
  const users = Array.from({ length: 60 }, (_value, index) => `user${index}`);

  it('by expiry leaves no row behind', async () => {
    const directory = temporaryDirectory();
    const clock = new SettableClock();
    const store = openLmdbStore(directory, clock);
    const expiresAt = clock.now() + 1;
    for (let n = 1; n <= 9; n += 1) {
      const appended = await store.log.append({
        ...draftOf(n, 'secret'),
        isClientId: false,
        expiresAt,
        collapseKey: `k${n}`,
      });
      if (appended.outcome === 'stored') await store.log.update(appended.message, `secret ${n}`, 'test');
    }
    clock.pass(1);
    while ((await store.log.expire(5)).taken === 5);
    await store.close();
    const rows = await rowsOf(directory);
    expect(
      rows.filter((row) => row.includes('secret') || /^(messages|ids|collapse|collapsing|expiring|due) /.test(row)),
    ).toEqual([]);
  });

  it('by retention leaves no row behind, however many users there are to each message', async () => {
    const directory = temporaryDirectory();
    const store = openLmdbStore(directory, new SettableClock());
    for (const userId of users) await store.devices.open(userId, 'phone');
    // More than a row of times holds, so that the first one of each user is over; and more rows than messages.
    const drafts = Array.from({ length: 130 }, (_value, index) => ({ ...draftOf(index + 1), topic: '*' }));
    await Promise.all(drafts.map((draft) => store.log.append(draft)));
    for (const userId of users) {
      await store.devices.saveCursors([{ userId, device: 'phone', topic: '*', seq: 100, at: 1 }]);
      await store.inbox.changeStates(userId, { topic: '*', upTo: 100 }, 'read');
    }
    while ((await store.log.prune(Date.parse('2027-01-01T00:00:00.000Z'), 500)) === 500);
    await store.close();
    const rows = await rowsOf(directory);
    expect(rows.filter((row) => /^(messages \["\*"|ids |stamps \["\*",0,)/.test(row))).toEqual([]);
  });

  it('by an erasure leaves no row about the user', async () => {
    const directory = temporaryDirectory();
    const store = openLmdbStore(directory, new SettableClock());
    await store.devices.open('anna', 'phone');
    await store.log.append({ ...draftOf(1), topic: '*', isClientId: false });
    // One message, and a log of states that is longer than what one transaction takes of it.
    const states = Array.from({ length: 1_300 }, (_value, index) => (index % 2 === 0 ? 'read' : 'unread'));
    await Promise.all(
      states.map((state) => store.inbox.changeStates('anna', { all: true }, state as 'read' | 'unread')),
    );
    await store.log.append({ ...draftOf(2), collapseKey: 'k', expiresAt: Date.parse('2030-01-01T00:00:00.000Z') });
    await store.users.erase('anna');
    await store.close();
    const told = (await rowsOf(directory)).filter((row) => row.includes('anna'));
    // The heads of the two logs are what keeps their seq from being given again, and the mark of the erasure.
    const kept = /^topics "[@~]anna" /;
    // Rows of places without a word about anybody go with retention, when the whole row is over.
    const isPlace = /^(holes|stamps) \["[@~]anna",\d+(,"","sent")?\] /;
    const left = told.filter((row) => !kept.test(row) && !isPlace.test(row));
    expect([...new Set(left.map((row) => row.slice(0, row.indexOf(','))))]).toEqual([]);
  });
});

describe('a damaged store', () => {
  /** An intact data file, and the number of its messages. */
  let intact: Buffer;
  const total = 36;
  const lastPage = () => intact.length / PAGE_BYTES - 1;

  beforeAll(async () => {
    const directory = temporaryDirectory();
    const store = openLmdbStore(directory, systemClock);
    await store.devices.open('anna', 'phone');
    // Several transactions leave free pages; long values have their own pages.
    for (let n = 1; n <= total; n += 12) {
      const some = Array.from({ length: 12 }, (_value, index) => n + index);
      await Promise.all(some.map((m) => store.log.append(draftOf(m, 'x'.repeat(m % 9 === 0 ? 9_000 : m * 10)))));
    }
    await store.close();
    intact = readFileSync(join(directory, 'data.mdb'));
  });

  interface Damage {
    readonly name: string;
    readonly bytes: Buffer;
  }

  function cutAt(offset: number): Damage {
    return { name: `cut at ${offset}`, bytes: intact.subarray(0, offset) };
  }

  /** Bytes `from` to `to` are other ones. */
  function overwrite(from: number, to: number, content: Buffer): Damage {
    const bytes = Buffer.from(intact);
    content.copy(bytes, from, 0, to - from);
    return { name: `overwritten from ${from} to ${to}`, bytes };
  }

  function randomBytes(random: Random, count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => random.integer(0, 255)));
  }

  /**
   * Examines all of them in a process that may die.
   * @returns what is wrong, a line each: every damage must be refused, or have done no harm.
   */
  async function findFaults(damages: readonly Damage[]): Promise<string[]> {
    const expected = await reportOn([{ name: 'no damage', bytes: intact }]);
    const log = expected[0]?.outcome === 'opened' ? expected[0].log : undefined;
    expect(log?.count).toBe(total);
    const reports = await reportOn(damages);
    return damages.flatMap(({ name }, index) => {
      const fault = faultOf(reports[index], log);
      return fault === undefined ? [] : [`${name}: ${fault}`];
    });
  }

  type Report = StoreReport | { readonly outcome: 'died'; readonly how: string };

  async function reportOn(damages: readonly Damage[]): Promise<Report[]> {
    const directories = damages.map(({ bytes }) => {
      const directory = temporaryDirectory();
      writeFileSync(join(directory, 'data.mdb'), bytes);
      return directory;
    });
    const reports: Report[] = [];
    while (reports.length < directories.length) {
      const looking = runStoreProcess(['look', ...directories.slice(reports.length)]);
      const [code, signal] = (await once(looking.child, 'close')) as [number | null, NodeJS.Signals | null];
      const found = looking.lines.filter((line) => line.startsWith('{"outcome"'));
      reports.push(...found.map((line) => JSON.parse(line) as StoreReport));
      // The next one ended it, or kept it waiting for what never came.
      const how = `${signal ?? `exit ${code}`}: ${looking.lines.at(-1)}`;
      if (reports.length < directories.length) reports.push({ outcome: 'died', how });
    }
    directories.forEach((directory, index) => {
      const isUnchanged = readFileSync(join(directory, 'data.mdb')).equals(damages[index]?.bytes ?? intact);
      if (reports[index]?.outcome === 'refused')
        expect([damages[index]?.name, isUnchanged]).toEqual([damages[index]?.name, true]);
    });
    return reports;
  }

  /**
   * There are no checksums: other bytes inside of a long value, whose pages have no headers, show when it is read, as a
   * StoreError that names the message. What must not be is a store that opens and gives less than it had, or dies of it.
   */
  async function findSilentLosses(damages: readonly Damage[]): Promise<string[]> {
    const faults = await findFaults(damages);
    return faults.filter((fault) => !/"outcome":"unreadable"/.test(fault) || /"error":"(?!StoreError)/.test(fault));
  }

  function faultOf(report: Report | undefined, expected: object | undefined): string | undefined {
    if (report?.outcome === 'refused') {
      const isClear =
        report.error === 'StoreOpenError' && /damaged|another version|cannot be opened/.test(report.message);
      return isClear ? undefined : `refused by ${report.error}: ${report.message}`;
    }
    if (report?.outcome !== 'opened') return JSON.stringify(report);
    const logs = [report.log, report.logAfterwards];
    const isWhole = logs.every((log) => JSON.stringify(log) === JSON.stringify(expected));
    const isClear = report.append === 'stored' || report.append === 'StoreError';
    return isWhole && isClear ? undefined : `${logs.map(({ count }) => count)} of ${total} messages, ${report.append}`;
  }

  it('that was cut in its header is refused', async () => {
    const offsets = [0, 1, HEADER.magic, 100, HEADER.end, PAGE_BYTES, PAGE_BYTES + 1, PAGE_BYTES + HEADER.magic + 4];
    const reports = await reportOn([...offsets, PAGE_BYTES + HEADER.end, 2 * PAGE_BYTES].map(cutAt));
    expect(reports.map(({ outcome }) => outcome)).toEqual(reports.map(() => 'refused'));
    expect(await findFaults(offsets.map(cutAt))).toEqual([]);
  });

  it('that was cut at the boundary of any page is refused, or has lost nothing', async () => {
    const offsets = Array.from({ length: lastPage() - 2 }, (_value, index) => (index + 3) * PAGE_BYTES);
    expect(await findFaults(offsets.map(cutAt))).toEqual([]);
  });

  it('that was cut anywhere is refused, or has lost nothing', async () => {
    const random = seededRandom('cut stores');
    const offsets = Array.from({ length: 6 }, () => random.integer(2 * PAGE_BYTES, intact.length - 1));
    expect(await findFaults([...offsets, intact.length - 1].map(cutAt))).toEqual([]);
  });

  it('whose header was overwritten is refused, or has lost nothing', async () => {
    const random = seededRandom('overwritten headers');
    const headers = [0, PAGE_BYTES];
    const noise = (from: number, to: number) => overwrite(from, to, randomBytes(random, to - from));
    const damages = headers.flatMap((at) => [
      overwrite(at, at + PAGE_BYTES, Buffer.alloc(PAGE_BYTES)),
      overwrite(at, at + PAGE_BYTES, Buffer.alloc(PAGE_BYTES, 0xff)),
      noise(at, at + PAGE_BYTES),
      noise(at, at + HEADER.magic + 4),
      noise(at + HEADER.magic + 4, at + HEADER.fields),
      noise(at + HEADER.fields, at + HEADER.end),
    ]);
    expect(await findFaults([...damages, noise(0, 2 * PAGE_BYTES)])).toEqual([]);
  });

  it('of which any one page was overwritten loses nothing silently', async () => {
    const random = seededRandom('overwritten pages');
    const pages = Array.from({ length: 12 }, () => random.integer(2, lastPage()));
    const damages = pages.map((page) =>
      overwrite(page * PAGE_BYTES, (page + 1) * PAGE_BYTES, randomBytes(random, PAGE_BYTES)),
    );
    expect(await findSilentLosses(damages)).toEqual([]);
  });

  it('of which some pages were lost loses nothing silently', async () => {
    const random = seededRandom('empty pages');
    const pages = Array.from({ length: 8 }, () => random.integer(2, lastPage()));
    const damages = pages.map((page) =>
      overwrite(page * PAGE_BYTES, (page + 1) * PAGE_BYTES, Buffer.alloc(PAGE_BYTES)),
    );
    expect(await findSilentLosses(damages)).toEqual([]);
  });

  it('that is something else is refused', async () => {
    const random = seededRandom('garbage');
    const sizes = [1, 159, 160, PAGE_BYTES, 3 * PAGE_BYTES, 100_000];
    const garbage = sizes.map((size) => ({ name: `${size} random bytes`, bytes: randomBytes(random, size) }));
    const text = { name: 'a text', bytes: Buffer.from('not a store\n'.repeat(1_000)) };
    const empty = { name: 'zeros', bytes: Buffer.alloc(3 * PAGE_BYTES) };
    const damages = [...garbage, text, empty];
    expect((await reportOn(damages)).map(({ outcome }) => outcome)).toEqual(damages.map(() => 'refused'));
    expect(await findFaults(damages)).toEqual([]);
  });

  it('does not end this process, nor keep it from opening another one', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'data.mdb'), intact.subarray(0, 5 * PAGE_BYTES));
    for (let attempt = 0; attempt < 2; attempt += 1) expect(openError(directory).message).toMatch(/damaged/);
    writeFileSync(join(directory, 'data.mdb'), intact);
    expect(await openStore(directory).log.head('@anna')).toBe(24);
  });
});
