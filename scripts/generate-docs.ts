/**
 * Writes the two documents that come from the configuration schema: `.env.example` and
 * docs/reference/configuration.md. Run by `npm run docs`; tests/docs.test.ts fails when they are out of step.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCommandLine } from '../utils/command-line';
import { describeVariables, renderEnvExample } from '../utils/config';
import { type Command, runHere } from './support/terminal';

const INTRODUCTION = `# Configuration

<!-- Written by \`npm run docs\` from utils/config.ts. Do not edit by hand. -->

The service reads environment variables once, at start. \`npm start\` also reads a file \`.env\` if it exists;
[.env.example](../../.env.example) has every variable with its default.

- An empty value counts as not set.
- An invalid value prevents the start, with exit code 1 and a line for each variable. Values are never printed.
- \`npm start -- --check-config\` checks the environment and stops.
- Unknown variables are ignored. At start, the service warns about a name that is a letter or two away from one below, a
  value in \`.env\` that is cut off at a \`#\`, and a file with a byte order mark.
`;

/** The text of docs/reference/configuration.md. */
export function renderConfigurationPage(): string {
  const rows = describeVariables().map(
    ({ name, standard, about }) =>
      `| \`${name}\` | ${standard === undefined ? 'not set' : `\`${standard}\``} | ${inCell(about)} |`,
  );
  return [INTRODUCTION, '| Variable | Default | Meaning |', '| --- | --- | --- |', ...rows, ''].join('\n');
}

/** Text that stays within its table cell. */
function inCell(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('*', '\\*');
}

const USAGE = `Writes .env.example and docs/reference/configuration.md.

Usage:
  npm run docs
`;

const OPTIONS = { help: { type: 'boolean', default: false } } as const;

const write: Command = async (args, terminal) => {
  if (readCommandLine(args, { options: OPTIONS, usage: USAGE }).values.help) {
    terminal.stdout.write(USAGE);
    return 0;
  }
  const root = join(__dirname, '..');
  writeFileSync(join(root, '.env.example'), renderEnvExample());
  writeFileSync(join(root, 'docs/reference/configuration.md'), renderConfigurationPage());
  return 0;
};

if (require.main === module) void runHere(write);
