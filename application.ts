/**
 * Composition root: builds every part from the configuration and wires them. Nothing listens until start().
 * Also the entry for code that embeds the service.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { byTable, clientActions, clientEvents } from './features/client-events';
import type { MakeToken } from './features/development-tokens';
import { createHttpApplication } from './features/index';
import { refuseTarget, refuseUnreadable } from './features/render-error';
import { createAuditOperations } from './handlers/audit';
import { createSendBatch } from './handlers/batch';
import { createConnectionOperations } from './handlers/connection';
import { createCarryOut } from './handlers/idempotency';
import { createInboxOperations } from './handlers/inbox';
import { createMessageChangeOperations } from './handlers/messages';
import { createMistypedFields } from './handlers/mistyped-fields';
import { createPresenceOperations } from './handlers/presence';
import { createRevocationOperations } from './handlers/revocation';
import { createRights } from './handlers/rights';
import { createScheduleOperations } from './handlers/schedule';
import { createSending } from './handlers/sending';
import { createTopicOperations } from './handlers/topics';
import { createUserDataOperations } from './handlers/users';
import { createMessageOperations } from './handlers/websocket';
import { Backlog } from './services/admission/backlog';
import { HandshakeLimits } from './services/admission/handshake-limits';
import { HeapGuard } from './services/admission/heap-guard';
import { watchLoad } from './services/admission/http-load';
import { inTurn } from './services/admission/http-turns';
import { Incoming } from './services/admission/incoming';
import { divideOpenFiles } from './services/admission/open-files';
import { ReadTurns } from './services/admission/read-turns';
import { UntakenAnswers } from './services/admission/untaken-answers';
import { Audit } from './services/audit';
import { type Cluster, createSingleNode } from './services/cluster/contract';
import { Cursors } from './services/delivery/cursors';
import { Delivery } from './services/delivery/delivery';
import { listen } from './services/listen';
import { createLogger, type Logger } from './services/observability/logger';
import { createMetrics, registerGauges } from './services/observability/metrics';
import { MemberLookup } from './services/presence/member-lookup';
import { Presence } from './services/presence/presence';
import { Roster } from './services/presence/roster';
import { Typing } from './services/presence/typing';
import { Connections } from './services/sockets/connections';
import { PlainWebSocketService } from './services/sockets/plain-websocket';
import { isPoll } from './services/sockets/polls';
import { Sessions } from './services/sockets/sessions';
import { Upgrades } from './services/sockets/upgrades';
import { isShared, type Store } from './services/storage/contract';
import { openStore } from './services/storage/engines';
import { developmentSecret } from './services/tokens/development-secret';
import { KeySet } from './services/tokens/key-set';
import { Revocations } from './services/tokens/revocations';
import { fixedKey, type TokenKeys } from './services/tokens/token-keys';
import { createTokens, signToken } from './services/tokens/tokens';
import { Upkeep } from './services/upkeep';
import { WebSocketService } from './services/websocket';
import { type Balance, balanceOf } from './utils/balance';
import { claimRulesOf } from './utils/claims';
import { type Clock, CountingClock, delay, systemClock } from './utils/clock';
import type { ClusterFrame } from './utils/cluster-protocol';
import type { Config, TokenKey } from './utils/config';
import type { Caller } from './utils/jwt';
import type { ClosingCode } from './utils/protocol';
import { createClients } from './utils/proxies';

export { getWebSocketService } from './services/websocket';
export { ConfigError, parseConfig } from './utils/config';

/** Slow headers and bodies are closed; Node looks for them only every 30 s unless told. */
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 30_000;
const CONNECTIONS_CHECKING_INTERVAL_MS = 5_000;
const CONTRADICTING_HEADERS =
  'Forwarded and X-Forwarded-For of a trusted proxy name different clients, so neither is believed: let it set one of ' +
  'them and remove the other';
/** Shares of SHUTDOWN_TIMEOUT_MS: for load balancers to notice, and then for requests in flight to finish. */
const DRAIN_SHARE = 0.1;
const REQUESTS_SHARE = 0.5;

export interface Overrides {
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly heap?: HeapGuard;
  /** Open already, instead of what STORE_URL names; closed with the service. */
  readonly store?: Store;
  /** Instead of what REDIS_URL names; the store is a shared one then. */
  readonly cluster?: Cluster;
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
  /** What is taken at the moment, by name; all zero when nobody is there, and after stop() its timers too. */
  balance(): Balance;
  /** Makes a token for development; only with the secret that the service made itself. */
  readonly makeToken: MakeToken | undefined;
}

/**
 * Builds the service.
 * @throws StoreOpenError when the store cannot be opened, KeySetOpenError when the keys of tokens cannot be fetched.
 */
export async function createApplication(config: Config, overrides: Overrides = {}): Promise<Application> {
  const clock = new CountingClock(overrides.clock ?? systemClock);
  /** For calls to other machines: these have a time of their own. */
  const machineClock = new CountingClock(systemClock);
  const logger = overrides.logger ?? createLogger(config);
  const { debugNames } = config;
  if (debugNames.length > 0)
    logger.warn({ names: debugNames }, 'DEBUG makes libraries print requests with their tokens');
  const key = resolveKey(config);
  const keys = await openTokenKeys(key, logger, machineClock);
  const metrics = createMetrics();
  const store = overrides.store ?? (await openStore(config, clock, metrics.onFlush));
  const cluster = overrides.cluster ?? (await createCluster(config, store, { logger, clock: machineClock }));
  const openFiles = divideOpenFiles({
    maxConnections: config.MAX_CONNECTIONS,
    refusals: metrics.refusals,
    logger,
  });
  const heap = overrides.heap ?? new HeapGuard({ maxBodyBytes: config.MAX_BODY_BYTES, logger });
  const incoming = new Incoming({ config, clock, metrics, heap });
  const places = { ...config, MAX_CONNECTIONS: openFiles.maxConnections };
  const clients = createClients(config, () => logger.warn(CONTRADICTING_HEADERS));
  const limits = new HandshakeLimits({ config: places, clock, metrics, heap, clients });
  const connections = new Connections();
  const untaken = new UntakenAnswers({ clock, metrics, logger, maxBufferedBytes: config.MAX_BUFFERED_BYTES });
  const backlog = new Backlog({ connections, answers: untaken, config });
  const reads = new ReadTurns(metrics);
  const live = () => cluster.live;
  const cursors = new Cursors(store, logger, clock, {
    max: config.MAX_DEVICES_PER_USER,
    connectedOf: (userId) => roster.devicesOf(userId),
  });
  const delivery = new Delivery({
    store,
    cursors,
    cluster,
    metrics,
    clock,
    logger,
    maxBufferedBytes: config.MAX_BUFFERED_BYTES,
  });
  const presence = new Presence(clock, config.PRESENCE_GRACE_MS);
  const roster = new Roster({ connections, cluster, presence, cursors, clock });
  registerGauges(metrics.registry, {
    connections: (transport) => connections.countOver(transport),
    users: () => connections.userCount,
    catchUps: () => delivery.catchUps,
    queuedWrites: () => store.queuedWrites,
    unwrittenCursors: () => cursors.unwritten,
    isLive: () => cluster.live === 'ok',
    outages: () => cluster.outages,
    refusedFrames: () => cluster.refusedFrames,
    nodes: () => roster.nodeCount,
    places: () => limits.taken,
    handshakes: () => limits.waiting,
    readsRunning: () => reads.running,
    readsWaiting: () => reads.waiting,
    untakenAnswers: () => untaken.count,
    untakenBytes: () => untaken.bytes,
    balance: () => balance(),
  });
  const revocations = new Revocations({ store, cluster, roster, clock, logger });
  const isRevoked = (caller: Caller) => revocations.isRevoked(caller);
  const isExpRequired = config.JWT_REQUIRE_EXP;
  const tokens = createTokens({ keys, ...tokenRules(config), isExpRequired, isRevoked }, clock);
  const typing = new Typing(delivery, cluster, clock);
  const sessions = new Sessions({
    config,
    clock,
    logger,
    metrics,
    connections,
    cursors,
    delivery,
    presence,
    roster,
    cluster,
    heap,
    incoming,
    reads,
    refusalOf(caller) {
      if (isRevoked(caller)) return 'The token was revoked.';
      return tokens.isKeyGone(caller) ? 'The issuer has withdrawn the key of the token.' : undefined;
    },
  });
  const disconnect = (userId: string, code: ClosingCode, options: { reason: string; device?: string }) =>
    sessions.disconnect(userId, code, options);
  const audit = new Audit({ store, clock, logger, retentionDays: config.AUDIT_RETENTION_DAYS });
  const maxMessageBytes = config.MAX_MESSAGE_BYTES;
  const rights = createRights(config, isRevoked);
  const sending = createSending({
    ...{ delivery, store, clock, maxMessageBytes, rights },
    maxScheduledPerUser: config.MAX_SCHEDULED_PER_USER,
  });
  const members = new MemberLookup({ delivery, cluster, store, roster, clock, logger });
  const mistyped = createMistypedFields(logger);
  const messages = createMessageOperations({
    mistyped,
    roster,
    cursors,
    clock,
    sending,
    audit,
    disconnect,
    isAnyMemberOnline: (topic) => members.isAnyOnline(topic),
    live,
    rights,
  });
  const topics = createTopicOperations({
    store,
    delivery,
    clock,
    maxTopicsPerUser: config.MAX_TOPICS_PER_USER,
    maxInvitedTopicsPerUser: config.MAX_INVITED_TOPICS_PER_USER,
    audit,
    rights,
    follow: (userId, topic, start, invitation) => sessions.follow(userId, topic, start, invitation),
    unfollow: (userId, topic) => sessions.unfollow(userId, topic),
    unfollowAll: (topic) => sessions.unfollowAll(topic),
  });
  const lobby = createPresenceOperations({ presence, typing, delivery, store, rights });
  const inbox = createInboxOperations({ store, delivery, incoming });
  const { assertSize } = sending;
  const changes = createMessageChangeOperations({ store, delivery, cursors, assertSize, audit, rights });
  const schedule = createScheduleOperations(store, audit);
  const users = createUserDataOperations({ store, cursors, sessions, clock, audit, isRevoked });
  const revocation = createRevocationOperations({ revocations, clock, audit });
  const sendBatch = createSendBatch({ sending, topics, mistyped });
  const carryOut = createCarryOut(store, logger);
  const own = createConnectionOperations({
    delivery,
    store,
    clock,
    sessions,
    tokens,
    presence,
    rights,
    maxMessageBytes,
    disconnect,
  });
  const makeToken = createMakeToken(config, key);
  let isStopping = false;
  const startedAt = machineClock.steady();
  const uptimeSeconds = () => Math.floor((machineClock.steady() - startedAt) / 1_000);
  const health = { store, live, metrics, heap, isStopping: () => isStopping, uptimeSeconds };
  const http = createHttpApplication({
    config,
    logger,
    tokens,
    cluster,
    clients,
    health,
    watchAnswer: (response, userId) =>
      untaken.watch(response, isPoll(response) ? 'poll' : userId === undefined ? 'stranger' : { userId }),
    backlog,
    incoming,
    reads,
    messages,
    topics,
    inbox,
    changes,
    schedule,
    users,
    revocation,
    audit: createAuditOperations(audit),
    sendBatch,
    carryOut,
    makeDevelopmentToken: makeToken,
  });
  const httpServer = createServer({
    ...http.classes,
    keepAliveTimeout: config.KEEP_ALIVE_TIMEOUT_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECKING_INTERVAL_MS,
  });
  openFiles.guard(httpServer);
  const socketParts = { config, clock, metrics, tokens, sessions, limits, backlog, incoming, clients };
  const websocket = new WebSocketService({ ...socketParts, roster });
  const plain = new PlainWebSocketService(socketParts);
  const upgrades = new Upgrades(httpServer, [websocket.door, plain], { clock, metrics });
  const refuse = refuseTarget(metrics, clients);
  const answer: RequestListener = (request, response) => {
    if (websocket.door.answer(request, response)) return;
    // Express knows no answer to a target that is no URL.
    http.handle(request, response, () => refuse(request, response));
  };
  httpServer.on('request', inTurn(answer, metrics));
  // Node would answer 417 without a word; what is expected that nobody knows may be ignored (RFC 9110, section 10.1.1).
  httpServer.on('checkExpectation', (request, response) => httpServer.emit('request', request, response));
  httpServer.on('clientError', refuseUnreadable(metrics, clock));
  const upkeep = new Upkeep({
    store,
    cursors,
    connections,
    audit,
    delivery,
    metrics,
    clock,
    logger,
    retentionDays: config.RETENTION_DAYS,
    mayBeSent: rights.mayBeSent,
  });

  function receive(frame: ClusterFrame, node: string): void {
    metrics.clusterFrames.inc();
    roster.receive(frame, node);
    sessions.receive(frame);
    revocations.receive(frame);
    typing.receive(frame);
    void delivery.receive(frame);
  }

  async function start(): Promise<Address> {
    try {
      await revocations.open({
        close: (userId) => sessions.closeRevoked(userId),
        expiryOf: (userId, jti) => tokens.expiryOf(userId, jti),
      });
      return await openDoors();
    } catch (error) {
      await stop();
      throw error;
    }
  }

  async function openDoors(): Promise<Address> {
    const operations = { messages, topics, presence: lobby, inbox, own, reads };
    sessions.open();
    untaken.open();
    limits.open();
    presence.open();
    typing.open();
    plain.open(byTable(clientActions(operations)));
    websocket.open({
      ...byTable(clientEvents(operations)),
      sendNotification: async (userId, title, body) =>
        (await messages.notify(EMBEDDING_CODE, { userId, title, body })).answer,
    });
    upkeep.start();
    if (keys instanceof KeySet) keys.open(() => sessions.closeWithdrawn());
    await cluster.open(receive);
    roster.open();
    await listen(httpServer, config);
    const { address, port } = httpServer.address() as AddressInfo;
    logger.info({ host: address, port }, 'listening');
    return { host: address, port };
  }

  async function stopOnce(): Promise<void> {
    isStopping = true;
    limits.stop();
    // Load balancers see /readyz red and look elsewhere before anything is closed. Nobody sees what has never listened.
    if (httpServer.listening) await delay(machineClock, config.SHUTDOWN_TIMEOUT_MS * DRAIN_SHARE);
    const cut = machineClock.after(config.SHUTDOWN_TIMEOUT_MS * REQUESTS_SHARE, () => {
      upgrades.terminate();
      httpServer.closeAllConnections();
    });
    sessions.close();
    // Before the clients come back, to whatever node.
    void upkeep.writeCursors();
    plain.close();
    presence.close();
    typing.close();
    roster.close();
    if (keys instanceof KeySet) keys.close();
    await websocket.close();
    await closeServer(httpServer);
    untaken.close();
    cut.cancel();
    await upkeep.stop();
    await revocations.close();
    await cluster.close();
    await store.close();
    logger.info('stopped');
  }

  let stopped: Promise<void> | undefined;
  function stop(): Promise<void> {
    stopped ??= stopOnce();
    return stopped;
  }

  const load = watchLoad(httpServer);
  const lenders = [
    limits,
    websocket,
    plain,
    connections,
    untaken,
    reads,
    delivery,
    cursors,
    typing,
    presence,
    revocations,
    heap,
    incoming,
    sessions,
    audit,
  ];
  const balance = () =>
    balanceOf([
      ...lenders,
      load,
      { balance: { upgrades: upgrades.open } },
      { balance: { queuedWrites: store.queuedWrites, heldClaims: store.heldClaims } },
      {
        balance: {
          timers: clock.waiting,
          repeatingTimers: clock.repeating,
          machineTimers: machineClock.repeating + machineClock.waiting,
        },
      },
    ]);

  return { httpServer, logger, start, stop, balance, makeToken };
}

async function createCluster(
  config: Config,
  store: Store,
  parts: { readonly logger: Logger; readonly clock: Clock },
): Promise<Cluster> {
  const { redisUrl, REDIS_REQUIRED, NODE_ID, CLUSTER_SECRET: secret } = config;
  const nodeId = NODE_ID ?? randomUUID();
  if (redisUrl === undefined || !isShared(store)) return createSingleNode(nodeId);
  // Reading the client of Redis takes as long as a fifth of everything else: a node alone does without.
  const { RedisCluster } = await import('./services/cluster/redis.ts');
  return new RedisCluster({
    secret,
    url: redisUrl,
    name: store.identity,
    isRequired: REDIS_REQUIRED,
    nodeId,
    ...parts,
  });
}

/** The sender of what embedding code sends. */
const EMBEDDING_CODE: Caller = { userId: 'service', scopes: new Set(['send']) };

function tokenRules(config: Config) {
  return { issuer: config.JWT_ISSUER, audience: config.JWT_AUDIENCE, claims: claimRulesOf(config) };
}

/** A secret that somebody configured is for whoever has it: nothing is signed with it unasked. */
function createMakeToken(config: Config, key: ReturnType<typeof resolveKey>): MakeToken | undefined {
  if (config.tokenKey.kind !== 'development-secret' || key.kind !== 'secret') return undefined;
  const rules = tokenRules(config);
  return (userId, scope, lifetimeSeconds) => signToken(key.key, { userId, scope, lifetimeSeconds, ...rules });
}

/** The key that the configuration names, or the one that is made for development. */
function resolveKey(config: Config): Exclude<TokenKey, { kind: 'development-secret' }> {
  if (config.tokenKey.kind !== 'development-secret') return config.tokenKey;
  return { kind: 'secret', key: developmentSecret(config.DATA_DIR), algorithm: 'HS256' };
}

/** What tokens are checked with. @throws KeySetOpenError when it has to be fetched, and cannot. */
async function openTokenKeys(key: ReturnType<typeof resolveKey>, logger: Logger, clock: Clock): Promise<TokenKeys> {
  return key.kind === 'key-set' ? KeySet.load({ url: key.url, logger, clock }) : fixedKey(key);
}

/** Resolves when the last connection is closed. One that never listened is closed already. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
