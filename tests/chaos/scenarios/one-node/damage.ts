/** F3: the file of the store is truncated or overwritten while nobody uses it. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, runServer } from '../../../support/process';
import type { Random } from '../../../support/random';
import { range, TEST_SECRET, testToken } from '../../../support/service';
import { temporaryDirectory } from '../../../support/temporary';
import { request } from '../../http';
import { startOne } from '../../one-node';
import type { Outcome, Scenario } from '../../scenario';

const PAGE_BYTES = 4_096;
const MESSAGES = 120;
const PATIENCE_MS = 30_000;
/** Long values have their own pages, which have no headers. */
const LONGEST = 9_000;

interface Damage {
  readonly name: string;
  readonly bytes: Buffer;
}

interface Stored {
  readonly id: string;
  readonly data: unknown;
}

async function runDamaged(random: Random): Promise<Outcome> {
  const directory = temporaryDirectory();
  const node = await startOne({ env: { DATA_DIR: directory } });
  const stored = await fill(node.url, random);
  await node.end();
  const intact = readFileSync(join(directory, 'data.mdb'));
  const verdicts: Verdict[] = [];
  for (const damage of damagesOf(intact, random)) verdicts.push(await startOn(damage, stored));
  const unharmed = await startOn({ name: 'nothing', bytes: intact }, stored);
  const violations = verdicts.flatMap(({ violation }) => violation ?? []);
  if (unharmed.what !== 'unharmed') violations.push(`without damage: ${JSON.stringify(unharmed)}`);
  const count = (what: Verdict['what']) => verdicts.filter((verdict) => verdict.what === what).length;
  if (count('refused') === 0) violations.push('nothing was tried: no damage was found');
  return {
    violations,
    figures: {
      damages: verdicts.length,
      refused: count('refused'),
      'reported on read': count('told'),
      unharmed: count('unharmed'),
    },
    evidence: verdicts,
  };
}

async function fill(url: string, random: Random): Promise<Stored[]> {
  const token = testToken('service', { scope: 'send' });
  const sends = range(1, MESSAGES).map(async (n) => {
    const data = `${n} ${'x'.repeat(n % 9 === 0 ? LONGEST : random.integer(0, 900))}`;
    const body = { userId: 'anna', type: 'test', data };
    const answer = await request(`${url}/websocket/message/user`, {
      method: 'POST',
      token,
      body,
      timeoutMs: PATIENCE_MS,
    });
    return { id: String(answer?.body['id']), data };
  });
  return Promise.all(sends);
}

function damagesOf(intact: Buffer, random: Random): Damage[] {
  const pages = intact.length / PAGE_BYTES;
  const page = () => random.integer(2, pages - 1) * PAGE_BYTES;
  const overwritten = (name: string, at: number, content: Buffer): Damage => {
    const bytes = Buffer.from(intact);
    content.copy(bytes, at);
    return { name: `${name} at ${at}`, bytes };
  };
  const cut = (at: number): Damage => ({ name: `cut at ${at}`, bytes: intact.subarray(0, at) });
  const noise = (length: number, most: number) => Buffer.from(range(1, length).map(() => random.integer(0, most)));
  const other = page();
  return [
    cut(random.integer(1, intact.length - 1)),
    cut(random.integer(intact.length / 2, intact.length - 1)),
    overwritten('noise', page(), noise(PAGE_BYTES, 255)),
    overwritten('zeros', page(), Buffer.alloc(PAGE_BYTES)),
    overwritten('another page', page(), intact.subarray(other, other + PAGE_BYTES)),
    // No JSON text has such bytes.
    overwritten('a few bytes', random.integer(2 * PAGE_BYTES, intact.length - 100), noise(64, 31)),
  ];
}

interface Verdict {
  readonly damage: string;
  readonly what: 'refused' | 'told' | 'unharmed' | 'bad';
  readonly violation?: string;
}

/** Starts the service on a damaged file, and reads everything that was answered 2xx. */
async function startOn({ name, bytes }: Damage, stored: readonly Stored[]): Promise<Verdict> {
  const directory = temporaryDirectory();
  const file = join(directory, 'data.mdb');
  writeFileSync(file, bytes);
  const bad = (violation: string): Verdict => ({ damage: name, what: 'bad', violation: `${name}: ${violation}` });
  const port = await freePort();
  const server = runServer({
    NODE_ENV: 'production',
    PORT: String(port),
    JWT_SECRET: TEST_SECRET,
    DATA_DIR: directory,
    SHUTDOWN_TIMEOUT_MS: '1000',
  });
  const said = await server.line(/"msg":"listening"|damaged|cannot be opened/).catch((error: Error) => error.message);
  if (!said.includes('"listening"')) {
    const [code] =
      server.child.exitCode === null ? ((await once(server.child, 'exit')) as [number]) : [server.child.exitCode];
    if (code !== 1 || !/damaged|cannot be opened/.test(said)) return bad(`it ended with ${code}: ${said}`);
    const isChanged = !readFileSync(file).equals(bytes);
    return isChanged ? bad('it was refused, and changed') : { damage: name, what: 'refused' };
  }
  const verdict = await readAll(`http://127.0.0.1:${port}`, stored);
  const { code } = await server.end('SIGTERM');
  if (code !== 0) return bad(`it ended with ${code}`);
  return verdict === 'told' || verdict === 'unharmed' ? { damage: name, what: verdict } : bad(verdict);
}

async function readAll(url: string, stored: readonly Stored[]): Promise<string> {
  const found = new Map<string, unknown>();
  for (let cursor: string | null = ''; cursor !== null; ) {
    const path: string = `${url}/inbox?limit=50${cursor && `&cursor=${cursor}`}`;
    const answer = await request(path, { token: testToken('anna'), timeoutMs: PATIENCE_MS });
    if (answer?.status === 503) return 'told';
    if (answer?.status !== 200) return `the inbox was answered ${JSON.stringify(answer)}`;
    for (const { id, data } of answer.body['items'] as Stored[]) found.set(id, data);
    cursor = answer.body['nextCursor'] as string | null;
  }
  const lost = stored.filter(({ id, data }) => found.get(id) !== data);
  return lost.length === 0 ? 'unharmed' : `I1: ${lost.length} messages of ${stored.length} went without a word`;
}

export const DAMAGE: readonly Scenario[] = [
  {
    id: 'F3',
    fault: 'the file of the store is damaged',
    injected: 'truncated at any byte; a page overwritten by noise, zeros, another page; a few bytes overwritten',
    expected: 'the start is refused with a reason, or a read reports it, or nothing is lost: never a silent loss',
    needs: [],
    tells: ['damages', 'refused', 'reported on read', 'unharmed'],
    run: runDamaged,
  },
];
