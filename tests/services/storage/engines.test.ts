/** Every available engine must fulfil the whole contract. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '../../..');
const OPENER = /\bopen[A-Z]\w*Store\b/g;

const filesOf = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ name, text: readFileSync(join(ROOT, folder, name), 'utf8') }));

const sources = filesOf('services/storage').filter(({ name }) => name !== 'engines.ts');
const openers = sources.flatMap(({ text }) =>
  Array.from(text.matchAll(/^export (?:async )?function (open[A-Z]\w*Store)\b/gm), ([, opener = '']) => opener),
);

/** The functions that describe a part of the contract. */
const suites = [...filesOf('tests/contracts'), ...filesOf('tests/inbox')].flatMap(({ text }) =>
  Array.from(text.matchAll(/^export function (describe\w+Contract)\b/gm), ([, suite = '']) => suite),
);

const tests = filesOf('tests/services/storage');

it('there are engines, and parts of the contract', () => {
  expect(openers).toEqual(expect.arrayContaining(['openLmdbStore', 'openMongoStore']));
  expect(suites).toEqual(expect.arrayContaining(['describeStoreContract', 'describeLaterContract']));
});

it('each engine can be chosen, and nothing else', () => {
  const door = readFileSync(join(ROOT, 'services/storage/engines.ts'), 'utf8');
  expect([...new Set(door.match(OPENER))].toSorted()).toEqual(openers.toSorted());
});

it.each(openers)('%s is tested with each part of the contract', (opener) => {
  const own = tests.filter(({ text }) => text.includes(`${opener}(`));
  const called = own.flatMap(({ text }) =>
    suites.filter((suite) => text.includes(`  ${suite}(`) || text.includes(`\n${suite}(`)),
  );
  expect([...new Set(called)].toSorted()).toEqual(suites.toSorted());
});
