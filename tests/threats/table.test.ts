/** The table of the threat model and the tests of this folder name each other. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const page = readFileSync(join(__dirname, '../../docs/operations/threat-model.md'), 'utf8');
const section = page.split(/^## /m).find((text) => text.startsWith('Users against each other')) ?? '';
const rows = section.split('\n').filter((line) => line.startsWith('| ') && !/^\| (---|Somebody \|)/.test(line));

const sources = readdirSync(__dirname)
  .filter((name) => name.endsWith('.test.ts') && name !== 'table.test.ts')
  .map((name) => readFileSync(join(__dirname, name), 'utf8'));
const titles = sources.flatMap((text) =>
  Array.from(text.matchAll(/^\s*(?:it|it\.each\([^)]*\)|\]\)|\)|)\(\s*'([^']+)'/gm), ([, title = '']) => title),
);

const named = rows.flatMap((row) => (row.split(' | ').at(-1) ?? '').replace(/ \|$/, '').split('; '));

it('has a test for each row', () => {
  expect(rows.length).toBeGreaterThan(20);
  expect(named.filter((name) => !titles.some((title) => title.startsWith(name)))).toEqual([]);
});
