/**
 * Composition root: three steps from the configuration to the doors. Nothing listens until start(). Also the entry for
 * code that embeds the service.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { clientEvents } from './features/client-events';
import { createEchoes } from './features/compatibility/echo';
import { createGatewayOperations } from './features/compatibility/gateway-operations';
import type { HealthParts } from './features/health';
import { createHttpApplication } from './features/index';
import { clientActions } from './features/plain-actions';
import { refuseTarget, refuseUnreadable } from './features/render-error';
import { HTTP_CHECK } from './features/self-check';
import { byTable } from './features/socket-operations';
import { createAuditOperations } from './handlers/audit';
import { createSendBatch } from './handlers/batch';
import { createConnectedUsers } from './handlers/connected-users';
import { createDisconnectUser } from './handlers/disconnect-user';
import { createEraseUser } from './handlers/erase-user';
import { createExportUser } from './handlers/export-user';
import { createFindMessage } from './handlers/find-message';
import { createRunOnce } from './handlers/idempotency';
import { createInboxOperations } from './handlers/inbox';
import { createMessageChangeOperations } from './handlers/message-changes';
import { createMessageOperations } from './handlers/messages';
import { createMistypedFields } from './handlers/mistyped-fields';
import { createOwnConnectionOperations } from './handlers/own-connection';
import { createPresenceOperations } from './handlers/presence';
import { createReadReceipts } from './handlers/receipts';
import { createRevocationOperations } from './handlers/revocation';
import { createRights } from './handlers/rights';
import { createScheduleOperations } from './handlers/schedule';
import { createSendOperations } from './handlers/send';
import { createTopicOperations } from './handlers/topics';
import { Backlog } from './services/admission/backlog';
import { HandshakeLimits } from './services/admission/handshake-limits';
import { COLLECTOR_CHECK, HeapGuard } from './services/admission/heap-guard';
import { watchLoad } from './services/admission/http-load';
import { inTurn } from './services/admission/http-turns';
import { Incoming } from './services/admission/incoming';
import { divideOpenFiles } from './services/admission/open-files';
import { ReadTurns } from './services/admission/read-turns';
import { UntakenAnswers } from './services/admission/untaken-answers';
import { AuditLog } from './services/audit-log';
import type { Cluster, FrameListener } from './services/cluster/contract';
import { createCluster } from './services/cluster/engines';
import { deliverFrames } from './services/cluster/frames';
import { Connections } from './services/delivery/connections';
import { Cursors } from './services/delivery/cursors';
import { Delivery } from './services/delivery/delivery';
import { checkInternals } from './services/internals';
import { closeServer, listen } from './services/listen';
import { createLogger, LOG_CHECK, type Logger } from './services/observability/logger';
import { createMetrics, type Gauges, registerGauges } from './services/observability/metrics';
import { MemberLookup } from './services/presence/member-lookup';
import { Presence } from './services/presence/presence';
import { Roster } from './services/presence/roster';
import { Typing } from './services/presence/typing';
import { PlainWebSocketService } from './services/sockets/plain-websocket';
import { isPoll } from './services/sockets/polls';
import { SOCKETS_CHECK } from './services/sockets/self-check';
import { Sessions } from './services/sockets/sessions';
import { Upgrades } from './services/sockets/upgrades';
import { UserSessions } from './services/sockets/user-sessions';
import type { Store } from './services/storage/contract';
import { openStore } from './services/storage/engines';
import {
  createMakeToken,
  type MakeToken,
  openTokenKeys,
  resolveKey,
  tokenRulesOf,
} from './services/tokens/configured-keys';
import { KeySet } from './services/tokens/key-set';
import { RevokedTokens } from './services/tokens/revoked-tokens';
import { createTokens } from './services/tokens/tokens';
import { Upkeep } from './services/upkeep';
import { WebSocketService } from './services/websocket';
import { type Balance, balanceOf, type Lender } from './utils/balance';
import type { Caller } from './utils/caller';
import { type Clock, CountingClock, delay, systemClock } from './utils/clock';
import type { Config } from './utils/config';
import { createClients } from './utils/proxies';

export { getWebSocketService } from './services/websocket';
export { ConfigError, parseConfig } from './utils/config';

/** Slow headers and bodies are cut; by default Node checks for them only every 30 s. */
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 30_000;
const CONNECTIONS_CHECKING_INTERVAL_MS = 5_000;
const CONTRADICTING_HEADERS =
  'Forwarded and X-Forwarded-For of a trusted proxy name different clients, so neither is believed: let it set one of ' +
  'them and remove the other';
/** Shares of SHUTDOWN_TIMEOUT_MS: for load balancers to notice, then for requests in flight to finish. */
const DRAIN_SHARE = 0.1;
const REQUESTS_SHARE = 0.5;

export interface Overrides {
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly heap?: HeapGuard;
  /** An open store, used instead of STORE_URL; closed with the service. */
  readonly store?: Store;
  /** Used instead of REDIS_URL; the store must then be a shared one. */
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
  /** Resources in use, by name: all zero while nobody is connected, and after stop() the timers too. */
  balance(): Balance;
  /** Makes a token for development; `undefined` unless the service generated its own secret. */
  readonly makeToken: MakeToken | undefined;
}

/**
 * Builds the service.
 * @throws InternalsError when a package is not as this service needs it, StoreOpenError when the store cannot be
 * opened, KeySetOpenError when the token keys cannot be fetched.
 */
export async function createApplication(config: Config, overrides: Overrides = {}): Promise<Application> {
  const services = await buildServices(config, overrides);
  const operations = wireOperations(config, services);
  const doors = buildDoors(config, services, operations);
  const balance = () => balanceOf(lendersOf(services, doors));
  registerGauges(services.metrics.registry, gaugesOf(services, balance));
  const { httpServer } = doors;
  const { logger, makeToken } = services;
  return { httpServer, logger, ...createLifecycle(config, { services, operations, doors }), balance, makeToken };
}

type Services = Awaited<ReturnType<typeof buildServices>>;
type Operations = ReturnType<typeof wireOperations>;
type Doors = ReturnType<typeof buildDoors>;

/** First step: everything that keeps state, or talks to another machine. */
async function buildServices(config: Config, overrides: Overrides) {
  const base = await openBase(config, overrides);
  const { clock, machineClock, logger, metrics, store, cluster, keys } = base;
  const connections = new Connections();
  const admission = buildAdmission(config, { ...base, connections, heap: overrides.heap });
  const { heap, incoming, reads } = admission;
  const cursors = new Cursors(store, logger, clock, {
    max: config.MAX_DEVICES_PER_USER,
    connectedOf: (userId) => roster.devicesOf(userId),
  });
  const maxBufferedBytes = config.MAX_BUFFERED_BYTES;
  const delivery = new Delivery({ store, cursors, cluster, metrics, clock, logger, maxBufferedBytes });
  const presence = new Presence(clock, config.PRESENCE_GRACE_MS);
  const onLost = () => delivery.recountHere();
  const roster = new Roster({ connections, cluster, presence, cursors, clock, onLost });
  const typing = new Typing(delivery, cluster, clock);
  const members = new MemberLookup({ delivery, cluster, topics: store.topics, roster, clock, logger });
  const revocations = new RevokedTokens({ store, cluster, roster, clock, logger });
  const isRevoked = (caller: Caller) => revocations.isRevoked(caller);
  const tokens = createTokens({ keys, ...tokenRulesOf(config), isRevoked }, clock);
  const sessions = new Sessions({
    ...{ config, clock, logger, metrics, connections, cursors, delivery, presence, roster, cluster },
    ...{ heap, incoming, reads },
    refusalOf(caller) {
      if (isRevoked(caller)) return 'The token was revoked.';
      return tokens.isKeyGone(caller) ? 'The issuer has withdrawn the key of the token.' : undefined;
    },
  });
  const shared = { sessions, connections, delivery, cluster, roster, presence, cursors, logger };
  const userSessions = new UserSessions(shared);
  const audit = new AuditLog({ store, clock, logger, retentionDays: config.AUDIT_RETENTION_DAYS });
  const startedAt = machineClock.steady();
  return {
    ...base,
    ...admission,
    ...{ connections, cursors, delivery, presence, roster, typing, members },
    ...{ revocations, isRevoked, tokens, sessions, userSessions, audit },
    run: { isStopping: false },
    uptimeSeconds: () => Math.floor((machineClock.steady() - startedAt) / 1_000),
  };
}

/** What everything else depends on. What this opens, stop() closes. */
async function openBase(config: Config, overrides: Overrides) {
  const clock = new CountingClock(overrides.clock ?? systemClock);
  /** For calls to other machines, which run in real time. */
  const machineClock = new CountingClock(systemClock);
  const logger = overrides.logger ?? createLogger(config);
  await checkInternals([LOG_CHECK, COLLECTOR_CHECK, HTTP_CHECK, SOCKETS_CHECK], logger);
  const { debugNames } = config;
  if (debugNames.length > 0)
    logger.warn({ names: debugNames }, 'DEBUG makes libraries print requests with their tokens');
  const key = resolveKey(config);
  const keys = await openTokenKeys(key, logger, machineClock);
  const metrics = createMetrics();
  const store = overrides.store ?? (await openStore(config, clock, metrics.onFlush));
  const cluster = overrides.cluster ?? (await createCluster(config, store, { logger, clock: machineClock }));
  return { clock, machineClock, logger, keys, makeToken: createMakeToken(config, key), metrics, store, cluster };
}

/** Which connections and requests are admitted, and how much of the machine each may hold. */
function buildAdmission(
  config: Config,
  parts: Pick<Base, 'clock' | 'logger' | 'metrics'> & { connections: Connections; heap: HeapGuard | undefined },
) {
  const { clock, logger, metrics, connections } = parts;
  const openFiles = divideOpenFiles({ maxConnections: config.MAX_CONNECTIONS, refusals: metrics.refusals, logger });
  const heap = parts.heap ?? new HeapGuard({ maxBodyBytes: config.MAX_BODY_BYTES, logger });
  const incoming = new Incoming({ config, clock, metrics, heap });
  const places = { ...config, MAX_CONNECTIONS: openFiles.maxConnections };
  const clients = createClients(config, () => logger.warn(CONTRADICTING_HEADERS));
  const limits = new HandshakeLimits({ config: places, clock, metrics, heap, clients });
  const untaken = new UntakenAnswers({ clock, metrics, logger, maxBufferedBytes: config.MAX_BUFFERED_BYTES });
  const backlog = new Backlog({ connections, answers: untaken, config });
  const reads = new ReadTurns(metrics);
  return { openFiles, heap, incoming, clients, limits, untaken, backlog, reads };
}

type Base = Awaited<ReturnType<typeof openBase>>;

/** Second step: the operations. */
function wireOperations(config: Config, services: Services) {
  const { store, clock, logger, delivery, sessions, roster, cursors, presence, typing, tokens, audit } = services;
  const { cluster, incoming, members, reads, revocations, isRevoked, userSessions } = services;
  const { MAX_MESSAGE_BYTES: maxMessageBytes, MAX_SCHEDULED_PER_USER: maxScheduledPerUser } = config;
  const disconnect = userSessions.disconnect.bind(userSessions);
  const rights = createRights(config, isRevoked);
  const sending = createSendOperations({ delivery, store, clock, maxMessageBytes, rights, maxScheduledPerUser });
  const { assertSize } = sending;
  const mistyped = createMistypedFields(logger);
  const live = () => cluster.live;
  const find = createFindMessage(store);
  const topics = createTopicOperations({
    ...{ store, clock, audit, rights },
    maxTopicsPerUser: config.MAX_TOPICS_PER_USER,
    maxInvitedTopicsPerUser: config.MAX_INVITED_TOPICS_PER_USER,
    follow: (userId, topic, start, invitation) => userSessions.follow(userId, topic, start, invitation),
    unfollow: (userId, topic) => userSessions.unfollow(userId, topic),
    unfollowAll: (topic) => userSessions.unfollowAll(topic),
  });
  return {
    topics,
    reads,
    messages: createMessageOperations({ sending, roster, members, mistyped, live, rights }),
    sendBatch: createSendBatch({ sending, topics, mistyped }),
    runOnce: createRunOnce(store.keys, logger),
    mayBeSent: rights.mayBeSent,
    schedule: createScheduleOperations(store, audit),
    changes: createMessageChangeOperations({ store, delivery, assertSize, audit, rights, find }),
    readReceipts: createReadReceipts({ store, delivery, cursors, find }),
    inbox: createInboxOperations({ store, delivery, incoming }),
    presence: createPresenceOperations({ presence, typing, delivery, store, rights }),
    people: createConnectedUsers({ roster, cursors, clock }),
    disconnectUser: createDisconnectUser(disconnect, audit),
    eraseUser: createEraseUser({ store, cursors, userSessions, audit }),
    exportUser: createExportUser({ store, cursors, clock, audit, isRevoked }),
    revocation: createRevocationOperations({ revocations, clock, audit }),
    audit: createAuditOperations(audit),
    own: createOwnConnectionOperations({ delivery, store, clock, sessions, tokens, presence, rights, disconnect }),
    gateway: createGatewayOperations({ roster, sending, mistyped }),
    echoes: createEchoes({ clock, maxMessageBytes }),
  };
}

/** Third step: the HTTP server with REST, Socket.IO and the plain endpoint. */
function buildDoors(config: Config, services: Services, operations: Operations) {
  const { clock, metrics, tokens, sessions, limits, backlog, incoming, clients, roster } = services;
  const http = createHttpApplication({
    ...operations,
    ...{ config, tokens, clients, backlog, incoming },
    logger: services.logger,
    cluster: services.cluster,
    health: healthOf(services),
    watchAnswer: (response, userId) =>
      services.untaken.watch(response, isPoll(response) ? 'poll' : userId === undefined ? 'stranger' : { userId }),
    makeDevelopmentToken: services.makeToken,
  });
  const httpServer = createServer({
    ...http.classes,
    keepAliveTimeout: config.KEEP_ALIVE_TIMEOUT_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECKING_INTERVAL_MS,
  });
  services.openFiles.guard(httpServer);
  const socketParts = { config, clock, metrics, tokens, sessions, limits, backlog, incoming, clients };
  const websocket = new WebSocketService({ ...socketParts, roster });
  const plain = new PlainWebSocketService(socketParts);
  const upgrades = new Upgrades(httpServer, [websocket.door, plain], { clock, metrics });
  const refuse = refuseTarget(metrics, clients);
  const answer: RequestListener = (request, response) => {
    if (websocket.door.answer(request, response)) return;
    // Express cannot answer a target that is not a URL.
    http.handle(request, response, () => refuse(request, response));
  };
  httpServer.on('request', inTurn(answer, metrics));
  // Node would answer 417 without a body; an unknown expectation may be ignored (RFC 9110, section 10.1.1).
  httpServer.on('checkExpectation', (request, response) => httpServer.emit('request', request, response));
  httpServer.on('clientError', refuseUnreadable(metrics, clock));
  return { httpServer, websocket, plain, upgrades, load: watchLoad(httpServer) };
}

function healthOf({ store, cluster, metrics, heap, run, uptimeSeconds }: Services): HealthParts {
  return { store, live: () => cluster.live, metrics, heap, isStopping: () => run.isStopping, uptimeSeconds };
}

function gaugesOf(services: Services, balance: () => Balance): Gauges {
  const { connections, delivery, store, cursors, cluster, roster, limits, reads, untaken } = services;
  return {
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
    balance,
  };
}

function lendersOf(services: Services, { websocket, plain, upgrades, load }: Doors): readonly Lender[] {
  const { limits, connections, untaken, reads, delivery, cursors, typing, presence, revocations } = services;
  const { heap, incoming, sessions, audit, store, clock, machineClock } = services;
  const machineTimers = machineClock.repeating + machineClock.waiting;
  return [
    ...[limits, websocket, plain, connections, untaken, reads, delivery, cursors, typing, presence, revocations],
    ...[heap, incoming, sessions, audit, load],
    { balance: { upgrades: upgrades.open } },
    { balance: { queuedWrites: store.queuedWrites, heldClaims: store.heldClaims } },
    { balance: { timers: clock.waiting, repeatingTimers: clock.repeating, machineTimers } },
  ];
}

interface Built {
  readonly services: Services;
  readonly operations: Operations;
  readonly doors: Doors;
}

/** start() and stop(): what one opens the other closes, in the order that loses nothing. */
function createLifecycle(config: Config, built: Built): Pick<Application, 'start' | 'stop'> {
  const upkeep = createUpkeep(config, built);
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= stopOnce(config, built, upkeep);
    return stopped;
  };
  async function start(): Promise<Address> {
    const { revocations, sessions, tokens } = built.services;
    try {
      await revocations.open({
        close: (userId) => sessions.closeRevoked(userId),
        expiryOf: (userId, jti) => tokens.expiryOf(userId, jti),
      });
      return await openDoors(config, built, upkeep);
    } catch (error) {
      await stop();
      throw error;
    }
  }
  return { start, stop };
}

function createUpkeep(config: Config, { services, operations: { mayBeSent } }: Built): Upkeep {
  const { store, cursors, connections, audit, delivery, metrics, clock, logger } = services;
  const retentionDays = config.RETENTION_DAYS;
  return new Upkeep({ store, cursors, connections, audit, delivery, metrics, clock, logger, retentionDays, mayBeSent });
}

async function openDoors(config: Config, { services, operations, doors }: Built, upkeep: Upkeep): Promise<Address> {
  const { httpServer, plain, websocket } = doors;
  const { sessions, untaken, limits, presence, typing, keys, cluster, roster, logger } = services;
  sessions.open();
  untaken.open();
  limits.open();
  presence.open();
  typing.open();
  plain.open(byTable(clientActions(operations)));
  websocket.open({
    ...byTable(clientEvents(operations)),
    sendNotification: async (userId, title, body) =>
      (await operations.messages.notify(EMBEDDING_CODE, { userId, title, body })).answer,
  });
  upkeep.start();
  if (keys instanceof KeySet) keys.open(() => sessions.closeWithdrawn());
  await cluster.open(receiveFrames(services));
  roster.open();
  await listen(httpServer, config);
  const { address, port } = httpServer.address() as AddressInfo;
  logger.info({ host: address, port }, 'listening');
  services.openFiles.report();
  return { host: address, port };
}

async function stopOnce(config: Config, { services, doors }: Built, upkeep: Upkeep): Promise<void> {
  const { httpServer, upgrades, plain, websocket } = doors;
  const { run, limits, machineClock, sessions, presence, typing, roster, keys, untaken, revocations } = services;
  run.isStopping = true;
  limits.stop();
  // Load balancers see /readyz red and move on before anything is closed. A service that never listened has none.
  if (httpServer.listening) await delay(machineClock, config.SHUTDOWN_TIMEOUT_MS * DRAIN_SHARE);
  const cut = machineClock.after(config.SHUTDOWN_TIMEOUT_MS * REQUESTS_SHARE, () => {
    upgrades.terminate();
    httpServer.closeAllConnections();
  });
  sessions.closeAll();
  // Before the clients reconnect, to whichever node.
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
  await services.cluster.close();
  await services.store.close();
  services.logger.info('stopped');
}

function receiveFrames({ metrics, ...receivers }: Services): FrameListener {
  const deliver = deliverFrames(receivers);
  return (frame, node) => {
    metrics.clusterFrames.inc();
    receivers.roster.heard(node);
    deliver(frame, node);
  };
}

/** The sender of notifications from embedding code. */
const EMBEDDING_CODE: Caller = { userId: 'service', scopes: new Set(['send']) };
