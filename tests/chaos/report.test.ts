/** The table of docs/evidence/reliability.md, and the scenarios in it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeOutcomes, describeScenario, renderTable, replaceTable } from './report';
import type { Outcome, Scenario } from './scenario';
import { SCENARIOS } from './scenarios/index';

const PAGE = readFileSync(join(__dirname, '../../docs/evidence/reliability.md'), 'utf8');
/** F34 is not a fault in the list. */
const FAULTS = Array.from({ length: 36 }, (_, index) => `F${index + 1}`).filter((name) => name !== 'F34');

const scenario: Scenario = {
  id: 'F1',
  fault: 'a | b',
  injected: 'by hand',
  expected: 'it stands',
  needs: [],
  tells: ['ms'],
  run: () => Promise.reject(new Error('not run here')),
};

function outcome(ms: number | string, violations: readonly string[] = []): Outcome {
  return { violations, figures: { ms, other: 1 } };
}

it('every fault is caused by a scenario', () => {
  const made = new Set(SCENARIOS.flatMap(({ id }) => id.match(/F\d+/g) ?? []));
  expect(FAULTS.filter((fault) => !made.has(fault))).toEqual([]);
});

it('the page has each scenario, and its result', () => {
  const rows = PAGE.split('\n').filter((line) => line.startsWith('| F'));
  const cells = rows.map((row) => row.slice(2, -2).split(' | '));
  expect(cells.map((row) => row.slice(0, 4))).toEqual(SCENARIOS.map(describeScenario));
  for (const [, , , , rounds, result] of cells) {
    expect(Number(rounds)).toBeGreaterThan(0);
    expect(result).toMatch(/^held/);
  }
});

it('shows figures from lowest to highest, and words', () => {
  expect(describeOutcomes(scenario, [outcome(3), outcome(1), outcome(2)])).toBe('held; ms: 1 … 3');
  expect(describeOutcomes(scenario, [outcome(3)])).toBe('held; ms: 3');
  expect(describeOutcomes(scenario, [outcome('none'), outcome('none')])).toBe('held; ms: none');
});

it('says in how many rounds something did not hold', () => {
  expect(describeOutcomes({ ...scenario, tells: [] }, [outcome(1), outcome(1, ['I1'])])).toBe('NOT HELD in 1 rounds');
});

it('is a table of markdown', () => {
  const [, , row] = renderTable([{ scenario, outcomes: [outcome(1)] }]).split('\n');
  expect(row).toBe('| F1 | a \\| b | by hand | it stands | 1 | held; ms: 1 |');
});

it('replaces the previous one', () => {
  const page = replaceTable(PAGE, 'TABLE');
  expect(page).toContain('\n\nTABLE\n\n<!-- end -->');
  expect(page).not.toContain('| F1 |');
  expect(replaceTable(page, 'TABLE')).toBe(page);
  expect(() => replaceTable('nothing', 'TABLE')).toThrow('the page has no');
});
