/** Entry: environment → configuration → application → listen; signals → stop. */
import closeWithGrace from 'close-with-grace';
import { createApplication } from './application';
import { renderBanner } from './features/banner';
import { ClusterOpenError } from './services/cluster';
import { KeySetOpenError } from './services/key-set';
import { StoreOpenError } from './services/storage/contract';
import { ConfigError, parseConfig } from './utils/config';

async function main(): Promise<void> {
  const config = parseConfig(process.env);
  if (process.argv.includes('--check-config')) {
    console.log('The configuration is valid.');
    return;
  }
  const application = await createApplication(config);
  // A transaction under way would make process.exit() wait for it; the store stands a kill at any moment.
  const onTimeout = () => process.kill(process.pid, 'SIGKILL');
  closeWithGrace({ delay: config.SHUTDOWN_TIMEOUT_MS, logger: false, onTimeout }, async ({ err, signal }) => {
    if (err !== undefined) application.logger.fatal({ err }, 'stopping after an error that nobody handled');
    else application.logger.info({ signal }, 'stopping');
    await application.stop();
  });
  const address = await application.start();
  if (!config.isProduction)
    console.log(renderBanner(address, { kind: config.tokenKey.kind, makeToken: application.makeToken }));
}

main().catch((error: unknown) => {
  const isExpected =
    error instanceof ConfigError ||
    error instanceof StoreOpenError ||
    error instanceof ClusterOpenError ||
    error instanceof KeySetOpenError ||
    isListenError(error);
  console.error(isExpected ? (error as Error).message : error);
  process.exit(1);
});

function isListenError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'listen';
}
