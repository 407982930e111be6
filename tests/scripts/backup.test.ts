/** `npm run backup`, as operators run it: beside a service that takes sends. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT_USAGE } from '../../utils/command-line';
import type { Message } from '../../utils/protocol';
import { eventually } from '../support/eventually';
import { run } from '../support/process';
import { range, startService, type TestService } from '../support/service';
import { temporaryDirectory } from '../support/temporary';

const script = join(__dirname, '../../dist/scripts/backup.js');
const PAGE_BYTES = 4_096;

async function backup(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ output: string; code: number | null }> {
  if (!existsSync(script)) throw new Error('dist/scripts/backup.js is missing: run `npm run build` first');
  const program = run(process.execPath, [script, ...args], env);
  // Ends by itself; the signal changes nothing.
  const { code } = await program.end('SIGCONT');
  return { output: program.lines.join('\n'), code };
}

interface Answer {
  readonly id: string;
  readonly seq: number;
}

/** Sends one message after the other, from several senders, until it is told to stop. */
function keepSending(service: TestService): { readonly answers: Answer[]; stop(): Promise<void> } {
  const answers: Answer[] = [];
  let isStopped = false;
  const sender = async () => {
    while (!isStopped) answers.push(...(await service.send('anna', [answers.length])));
  };
  const senders = Promise.all(range(1, 4).map(sender));
  return {
    answers,
    async stop() {
      isStopped = true;
      await senders;
    },
  };
}

/** Everything that waits for a user. */
async function messagesOf(service: TestService, userId: string): Promise<Message[]> {
  const client = await service.connect(userId);
  await client.next('sync:done');
  return client.allMessages;
}

it('has everything that was answered before it began, and starts', async () => {
  const service = await startService();
  const load = keepSending(service);
  await eventually(
    () => service.api.get('/readyz'),
    () => load.answers.length >= 100,
  );
  const before = [...load.answers];
  const target = join(temporaryDirectory(), 'monday');
  const { output, code } = await backup([target], { DATA_DIR: service.directory });
  await load.stop();
  expect(output).toMatch(/is backed up in .*monday: \d+ bytes, verified$/);
  expect(code).toBe(0);
  // Sends went on meanwhile: the copy was one of a store in use.
  expect(load.answers.length).toBeGreaterThan(before.length);
  expect(readdirSync(join(target, '..'))).toEqual(['monday']);
  expect(readdirSync(target)).toEqual(['data.mdb']);

  const restored = await startService({ directory: target });
  const messages = await messagesOf(restored, 'anna');
  expect(messages.map(({ seq }) => seq)).toEqual(range(1, messages.length));
  const ids = new Map(messages.map(({ seq, id }) => [seq, id]));
  for (const { seq, id } of before) expect(ids.get(seq)).toBe(id);
  const [next] = await restored.send('anna', [0]);
  expect(next?.seq).toBe(messages.length + 1);
});

it('leaves out what was erased', async () => {
  const service = await startService();
  const secret = 'only-in-this-message';
  await service.api
    .post('/websocket/message/user')
    .send({ userId: 'anna', type: 'test', data: secret.repeat(2_500) })
    .expect(200);
  await service.api.delete('/users/anna/data').expect(200);
  const target = join(temporaryDirectory(), 'backup');
  expect((await backup([target], { DATA_DIR: service.directory })).code).toBe(0);
  const contains = (directory: string) => readFileSync(join(directory, 'data.mdb')).includes(secret);
  expect({ store: contains(service.directory), backup: contains(target) }).toEqual({ store: true, backup: false });
});

it('is taken of a store that nobody uses, too', async () => {
  const service = await startService();
  await service.send('anna', [1, 2]);
  await service.stop();
  const target = join(temporaryDirectory(), 'backup');
  expect((await backup([target], { STORE_URL: `lmdb:${service.directory}` })).code).toBe(0);
  expect(await messagesOf(await startService({ directory: target }), 'anna')).toHaveLength(2);
});

it('of a damaged store is refused', async () => {
  const service = await startService();
  await service.api.post('/messages/batch').send({
    messages: range(1, 200).map((n) => ({ userId: 'anna', type: 'test', data: `${n}`.repeat(500) })),
  });
  await service.stop();
  const path = join(service.directory, 'data.mdb');
  const bytes = readFileSync(path);
  // Both header pages stay.
  writeFileSync(path, bytes.fill(0xff, 2 * PAGE_BYTES));
  const target = join(temporaryDirectory(), 'backup');
  expect((await backup([target], { DATA_DIR: service.directory })).code).not.toBe(0);
  expect(existsSync(target)).toBe(false);
});

describe('is refused with a sentence', () => {
  it.each([
    ['no directory', [], {}, 'Usage:', EXIT_USAGE],
    ['an option', ['--all'], {}, '--all', EXIT_USAGE],
    ['two directories', ['a', 'b'], {}, 'Usage:', EXIT_USAGE],
    ['no store', ['a'], { DATA_DIR: '/nowhere' }, 'There is no store in /nowhere', 1],
    ['a MongoDB', ['a'], { STORE_URL: 'mongodb://localhost/x' }, 'mongodump', 1],
    ['a configuration that is not valid', ['a'], { PORT: 'x' }, 'PORT', 1],
  ] as const)('%s', async (_name, args, env, words, exitCode) => {
    const { output, code } = await backup(args, env);
    expect(output).toContain(words);
    expect(output).not.toContain('    at ');
    expect(code).toBe(exitCode);
  });

  it.each([
    ['a directory that is there', 'there', 'is there already'],
    ['a directory in one that is not there', 'not/there', 'cannot be written to'],
  ])('%s', async (_name, name, words) => {
    const service = await startService();
    const parent = temporaryDirectory();
    mkdirSync(join(parent, 'there'));
    const { output, code } = await backup([join(parent, name)], { DATA_DIR: service.directory });
    expect(output).toContain(words);
    expect(output).not.toContain('    at ');
    expect(code).toBe(1);
    expect(readdirSync(parent)).toEqual(['there']);
  });
});
