/**
 * Composition root: builds every part from the configuration and wires them. Nothing listens until start().
 * Also the entry for code that embeds the service.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createClientEvents, dispatchEvent } from './features/client-events';
import { createHttpApplication } from './features/index';
import { createConnectionOperations } from './handlers/connection';
import { createMessageOperations } from './handlers/websocket';
import { Connections } from './services/connections';
import { Cursors } from './services/cursors';
import { Delivery } from './services/delivery';
import { developmentSecret } from './services/development-secret';
import { createLogger, type Logger } from './services/logger';
import { createMetrics } from './services/metrics';
import { openStore } from './services/storage/open-store';
import { createTokens, signToken } from './services/tokens';
import { Upkeep } from './services/upkeep';
import { WebSocketService } from './services/websocket';
import { type Clock, systemClock } from './utils/clock';
import type { Config, TokenKey } from './utils/config';
import type { Caller } from './utils/jwt';
import type { ClosingCode } from './utils/protocol';

export { getWebSocketService } from './services/websocket';
export { ConfigError, parseConfig } from './utils/config';

const KEEP_ALIVE_TIMEOUT_MS = 70_000;
/** Slow headers and bodies are closed; Node looks for them only every 30 s unless told. */
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 30_000;
const CONNECTIONS_CHECKING_INTERVAL_MS = 5_000;
/** Shares of SHUTDOWN_TIMEOUT_MS: for load balancers to notice, and then for requests in flight to finish. */
const DRAIN_SHARE = 0.1;
const REQUESTS_SHARE = 0.5;

export interface Overrides {
  readonly clock?: Clock;
  readonly logger?: Logger;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Application {
  readonly httpServer: Server;
  readonly logger: Logger;
  /** Starts listening. @returns the address, with the port that PORT=0 was given. */
  start(): Promise<Address>;
  /** Stops gracefully within SHUTDOWN_TIMEOUT_MS; a second call waits for the first. */
  stop(): Promise<void>;
  /** Makes a token, where the key allows it (HS256): `undefined` with a public key. */
  readonly makeToken: ((userId: string, scope: string | undefined, lifetimeSeconds: number) => string) | undefined;
}

/**
 * Builds the service.
 * @throws StoreOpenError when the store cannot be opened.
 */
export function createApplication(config: Config, overrides: Overrides = {}): Application {
  const clock = overrides.clock ?? systemClock;
  const logger = overrides.logger ?? createLogger(config);
  const key = resolveKey(config);
  const tokens = createTokens({ ...key, ...claimRules(config), isExpRequired: config.JWT_REQUIRE_EXP }, clock);
  const store = openStore(config);
  const connections = new Connections();
  const metrics = createMetrics({ connections: () => connections.count, users: () => connections.userCount });
  const cursors = new Cursors(store, logger);
  const delivery = new Delivery({ store, cursors, metrics, logger });
  const httpServer = createServer({
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECKING_INTERVAL_MS,
  });
  let isStopping = false;
  const disconnect = (userId: string, code: ClosingCode, options: { reason: string; device?: string }) =>
    websocket.disconnect(userId, code, options);
  const messages = createMessageOperations({
    delivery,
    connections,
    cursors,
    clock,
    maxMessageBytes: config.MAX_MESSAGE_BYTES,
    disconnect,
  });
  const own = createConnectionOperations({ delivery, store, clock, disconnect });
  const health = { store, connections, metrics, isStopping: () => isStopping };
  httpServer.on('request', createHttpApplication({ config, logger, tokens, health, messages }));
  const websocket = new WebSocketService(httpServer, {
    config,
    clock,
    logger,
    metrics,
    tokens,
    connections,
    cursors,
    delivery,
  });
  delivery.addTransport(websocket);
  const upkeep = new Upkeep({ store, cursors, delivery, clock, logger, retentionDays: config.RETENTION_DAYS });

  async function start(): Promise<Address> {
    websocket.open({
      dispatch: dispatchEvent(createClientEvents(messages, own)),
      sendNotification: async (userId, title, body) =>
        (await messages.notify(EMBEDDING_CODE, { userId, title, body })).answer,
    });
    upkeep.start();
    try {
      await listen(httpServer, config);
    } catch (error) {
      await stop();
      throw error;
    }
    const { address, port } = httpServer.address() as AddressInfo;
    logger.info({ host: address, port }, 'listening');
    return { host: address, port };
  }

  async function stopOnce(): Promise<void> {
    isStopping = true;
    websocket.stopAccepting();
    // Load balancers see /readyz red and look elsewhere before anything is closed.
    await delay(config.SHUTDOWN_TIMEOUT_MS * DRAIN_SHARE);
    const cut = setTimeout(() => httpServer.closeAllConnections(), config.SHUTDOWN_TIMEOUT_MS * REQUESTS_SHARE);
    await websocket.close();
    clearTimeout(cut);
    await upkeep.stop();
    await store.close();
    logger.info('stopped');
  }

  let stopped: Promise<void> | undefined;
  function stop(): Promise<void> {
    stopped ??= stopOnce();
    return stopped;
  }

  const makeToken =
    key.algorithm === 'HS256'
      ? (userId: string, scope: string | undefined, lifetimeSeconds: number) =>
          signToken(key.key, { userId, scope, lifetimeSeconds, ...claimRules(config) })
      : undefined;
  return { httpServer, logger, start, stop, makeToken };
}

/** The sender of what embedding code sends. */
const EMBEDDING_CODE: Caller = { userId: 'service', scopes: new Set(['send']) };

function claimRules({ JWT_ISSUER: issuer, JWT_AUDIENCE: audience }: Config) {
  return { issuer, audience };
}

/** The key that the configuration names, or the one that is made for development. */
export function resolveKey(config: Config): Exclude<TokenKey, { kind: 'development-secret' }> {
  if (config.tokenKey.kind !== 'development-secret') return config.tokenKey;
  return { kind: 'secret', key: developmentSecret(config.DATA_DIR), algorithm: 'HS256' };
}

function listen(server: Server, { HOST, PORT }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(PORT, HOST, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
