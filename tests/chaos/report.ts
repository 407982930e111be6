/** The results of many rounds of scenarios, as the table of docs/evidence/reliability.md. */
import type { Outcome, Scenario } from './scenario';

export interface Results {
  readonly scenario: Scenario;
  readonly outcomes: readonly Outcome[];
}

const START = '<!-- written by `npm run chaos -- --write` -->';
const END = '<!-- end -->';
const HEADER = ['', 'Fault', 'How it is made', 'What must hold', 'Rounds', 'Result'];

/** The columns that do not come from a run. */
export function describeScenario({ id, fault, injected, expected }: Scenario): string[] {
  return [id, fault, injected, expected].map(escapeCell);
}

export function renderTable(results: readonly Results[]): string {
  const rows = results.map(({ scenario, outcomes }) => [
    ...describeScenario(scenario),
    String(outcomes.length),
    escapeCell(describeOutcomes(scenario, outcomes)),
  ]);
  return [HEADER, HEADER.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** `held`, or in how many rounds it did not; and the figures worth reporting, lowest to highest. */
export function describeOutcomes({ tells = [] }: Scenario, outcomes: readonly Outcome[]): string {
  const bad = outcomes.filter(({ violations }) => violations.length > 0).length;
  const verdict = bad === 0 ? 'held' : `NOT HELD in ${bad} rounds`;
  const told = tells.map((name) => `${name}: ${describeRange(outcomes.map(({ figures }) => figures[name]))}`);
  return [verdict, ...told].join('; ');
}

function describeRange(values: readonly (number | string | undefined)[]): string {
  const numbers = values.filter((value) => typeof value === 'number');
  if (numbers.length === 0) return [...new Set(values)].join(', ');
  const [lowest, highest] = [Math.min(...numbers), Math.max(...numbers)];
  return lowest === highest ? String(lowest) : `${lowest} … ${highest}`;
}

/** @throws Error when the page has no place for it. */
export function replaceTable(page: string, table: string): string {
  const [start, end] = [page.indexOf(START), page.indexOf(END)];
  if (start === -1 || end < start) throw new Error(`the page has no ${START} … ${END}`);
  return `${page.slice(0, start + START.length)}\n\n${table}\n\n${page.slice(end)}`;
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|');
}
