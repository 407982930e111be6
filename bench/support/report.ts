import { availableParallelism, cpus, loadavg, release } from 'node:os';
import type { BenchOptions } from './options';

/** A broken server has thousands of faults: the first of each table are enough. */
const MAX_FAULTS = 10;

/** One table of the report. */
export interface Section {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Void samples and failed checks, each a sentence. */
  readonly faults: readonly string[];
}

/** Writes all sections as one Markdown document. */
export function renderReport(sections: readonly Section[], options: BenchOptions): string {
  const faults = sections.flatMap((section) => listFaults(section));
  return [
    '# Results',
    '',
    ...describeRun(options),
    '',
    ...sections.flatMap((section) => [`## ${section.title}`, '', ...renderTable(section), '']),
    '## Void samples and failed checks',
    '',
    ...(faults.length === 0 ? ['None.'] : faults.map((fault) => `- ${fault}`)),
    '',
  ].join('\n');
}

function listFaults({ title, faults }: Section): string[] {
  const left = faults.length - MAX_FAULTS;
  return [...faults.slice(0, MAX_FAULTS), ...(left > 0 ? [`${title}: ${left} more`] : [])];
}

function describeRun({ isQuick }: BenchOptions): string[] {
  const load = loadavg()[0]?.toFixed(1);
  return [
    `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} × ${cpus()[0]?.model.trim()}, ` +
      `Linux ${release()}, Node ${process.version}; load average ${load} at the end. How to read it: README.md.`,
    ...(isQuick
      ? ['', '**A quick run: one round with small counts. It shows that it works; the figures mean nothing.**']
      : []),
  ];
}

/** Columns are padded, as the project's formatter wants them. */
export function renderTable({ header, rows }: Pick<Section, 'header' | 'rows'>): string[] {
  const widths = header.map((_, i) => Math.max(3, ...[header, ...rows].map((row) => row[i]?.length ?? 0)));
  const renderRow = (row: readonly string[]) => `| ${widths.map((width, i) => row[i]?.padEnd(width)).join(' | ')} |`;
  if (header.length === 0) return [];
  return [header, widths.map((width) => '-'.repeat(width)), ...rows].map(renderRow);
}
