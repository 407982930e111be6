/** Entry: environment → configuration → application → listen; signals → stop. */
import { readFileSync } from 'node:fs';
import closeWithGrace from 'close-with-grace';
import { createApplication } from './application';
import { renderBanner } from './features/banner';
import { ClusterOpenError } from './services/cluster/contract';
import { InternalsError } from './services/internals';
import { ListenError } from './services/listen';
import { StoreOpenError } from './services/storage/contract';
import { checkStore } from './services/storage/engines';
import { KeySetOpenError } from './services/tokens/key-set';
import { EXIT_USAGE, readCommandLine, UsageError } from './utils/command-line';
import { ConfigError, describeVariables, parseConfig } from './utils/config';
import { type EnvironmentFile, findContradictions, findHints } from './utils/environment-hints';

const USAGE = `Starts the service. It is configured by environment variables: see docs/reference/configuration.md.

Usage:
  node dist/server.js [--check-config]

  --check-config  check the environment and stop
`;

const OPTIONS = {
  'check-config': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

async function main(): Promise<void> {
  const { values } = readCommandLine(process.argv.slice(2), { options: OPTIONS, usage: USAGE, env: process.env });
  if (values.help) process.stdout.write(USAGE);
  else if (values['check-config']) await checkConfig();
  else await start();
}

async function checkConfig(): Promise<void> {
  const config = parseConfig(process.env);
  await checkStore(config);
  console.log(['The configuration is valid.', ...readHints(), ...findContradictions(config)].join('\n'));
}

async function start(): Promise<void> {
  const config = parseConfig(process.env);
  const application = await createApplication(config);
  for (const hint of [...readHints(), ...findContradictions(config)]) application.logger.warn(hint);
  // A running transaction would make process.exit() wait for it; the store survives a kill at any moment.
  const onTimeout = () => process.kill(process.pid, 'SIGKILL');
  closeWithGrace({ delay: config.SHUTDOWN_TIMEOUT_MS, logger: false, onTimeout }, async ({ err, signal }) => {
    if (err !== undefined) application.logger.fatal({ err }, 'stopping after an unhandled error');
    else application.logger.info({ signal }, 'stopping');
    await application.stop();
  });
  const address = await application.start();
  if (config.isProduction) return;
  console.log(renderBanner(address, { kind: config.tokenKey.kind, makeToken: application.makeToken }));
}

function readHints(): string[] {
  const known = describeVariables().map(({ name }) => name);
  return findHints(process.env, readEnvironmentFiles(), known);
}

/** Options that Node, or a module loaded before this program, was given. */
function readEnvironmentFiles(): EnvironmentFile[] {
  return process.execArgv.flatMap((argument) => {
    const path = argument.endsWith('/env-file.js') ? '.env' : /^--env-file(?:-if-exists)?=(.+)$/.exec(argument)?.[1];
    if (path === undefined) return [];
    try {
      return [{ path, text: readFileSync(path, 'utf8') }];
    } catch {
      // The file may be missing, and Node reports what else is wrong.
      return [];
    }
  });
}

const EXPECTED = [
  UsageError,
  ConfigError,
  InternalsError,
  StoreOpenError,
  ClusterOpenError,
  KeySetOpenError,
  ListenError,
];

main().catch((error: unknown) => {
  const isExpected = error instanceof Error && EXPECTED.some((kind) => error instanceof kind);
  console.error(isExpected ? error.message : error);
  // A suspicious value may be the reason why something is missing.
  if (error instanceof ConfigError) for (const hint of readHints()) console.error(hint);
  process.exit(error instanceof UsageError ? EXIT_USAGE : 1);
});
