/** The one list of route prefixes, and what comes before every request. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import cors from 'cors';
import express, { type Request, type RequestHandler } from 'express';
import helmet from 'helmet';
import { pinoHttp } from 'pino-http';
import type { AuditOperations } from '../handlers/audit';
import type { RunOnce } from '../handlers/idempotency';
import type { InboxOperations } from '../handlers/inbox';
import type { ScheduleOperations } from '../handlers/schedule';
import type { TopicOperations } from '../handlers/topics';
import type { Backlog } from '../services/admission/backlog';
import type { Incoming } from '../services/admission/incoming';
import type { ReadTurns } from '../services/admission/read-turns';
import type { Cluster } from '../services/cluster/contract';
import { type Logger, redact } from '../services/observability/logger';
import type { MakeToken } from '../services/tokens/configured-keys';
import type { Tokens } from '../services/tokens/tokens';
import type { Config } from '../utils/config';
import { corsOptionsOf } from '../utils/origins';
import type { Clients } from '../utils/proxies';
import { auditRoutes } from './audit';
import { type GatewayRouteParts, gatewayRoutes } from './compatibility/gateway';
import { developmentRoutes, SAMPLE_USERS } from './development-tokens';
import { documentRoutes } from './documents';
import { authenticate } from './guards/authenticate';
import { authorize } from './guards/authorize';
import type { Guards } from './guards/guards';
import { limitRefusals, limitRequests } from './guards/limit-requests';
import { parseJsonBody, parseOptionalJsonBody } from './guards/parse';
import { createReadInTurn } from './guards/read-in-turn';
import { expectBody, refuseBodyWhileShort, refuseWhileShort } from './guards/refuse-while-short';
import { createSendOnce } from './guards/send-once';
import { type HealthParts, healthRoutes } from './health';
import { createHttpClasses, type HttpClasses } from './http-classes';
import { inboxRoutes } from './inbox';
import { type MessageRouteParts, messageRoutes } from './messages';
import { refuseUnknownPath, renderError } from './render-error';
import { knownCallerOf, requestIdOf } from './request';
import { mountRoutes } from './routes';
import { scheduleRoutes } from './schedule';
import { specificationRoutes } from './specifications/routes';
import { topicRoutes } from './topics';
import { type UserRouteParts, userRoutes } from './users';
import { type WebsocketRouteParts, websocketRoutes } from './websocket';

/** Answers a request; `onUnanswered` is called for one that no route and no error handler has answered. */
type HttpHandler = (request: IncomingMessage, response: ServerResponse, onUnanswered: () => void) => void;

export interface HttpApplication {
  readonly handle: HttpHandler;
  /** The classes from which the server makes requests and responses. */
  readonly classes: HttpClasses;
}

export interface HttpParts
  extends WebsocketRouteParts,
    MessageRouteParts,
    UserRouteParts,
    Omit<GatewayRouteParts, 'uptimeSeconds'> {
  readonly config: Config;
  readonly logger: Logger;
  readonly tokens: Tokens;
  readonly cluster: Cluster;
  readonly clients: Clients;
  readonly health: HealthParts;
  /** Watches an answer that has not left completely, until it is taken. */
  readonly watchAnswer: (response: ServerResponse, userId: string | undefined) => void;
  readonly backlog: Backlog;
  readonly incoming: Incoming;
  readonly reads: ReadTurns;
  readonly topics: TopicOperations;
  readonly inbox: InboxOperations;
  readonly schedule: ScheduleOperations;
  readonly audit: AuditOperations;
  readonly runOnce: RunOnce;
  /** Only if the service uses the secret that it made itself. */
  readonly makeDevelopmentToken: MakeToken | undefined;
}

const EXPOSED_HEADERS = ['Idempotent-Replay', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'X-Request-Id'];

/** Answers are JSON: nothing may be loaded from them or framed in them. Pages set their own policy. */
const API_HEADERS = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
  },
  // TLS ends at the proxy, which knows whether the promise of https can be kept.
  strictTransportSecurity: false,
  // Pages of the allowed origins read the answers; CORS decides which.
  crossOriginResourcePolicy: false,
} as const;

/** Builds the Express application: routes first, each with only the guards that it needs. */
export function createHttpApplication(parts: HttpParts): HttpApplication {
  const { config, logger, tokens, health } = parts;
  const { heap, metrics } = health;
  const { clients } = parts;
  const limits = { limits: config, cluster: parts.cluster, metrics, clients };
  const limit = limitRequests(limits);
  const judges = {
    beforeReading: expectBody(parts.incoming, config.MAX_BODY_BYTES),
    beforeParsing: refuseBodyWhileShort(heap, parts.incoming),
  };
  const guards: Guards = {
    authenticated: [authenticate(tokens), limit.guard, refuseWhileShort(heap, parts.backlog)],
    charge: limit.charge,
    withBody: parseJsonBody(config.MAX_BODY_BYTES, judges),
    withOptionalBody: parseOptionalJsonBody(config.MAX_BODY_BYTES, judges),
    authorize,
    isOneself: (caller, userId) => caller.userId === userId,
    readInTurn: createReadInTurn(parts.reads),
    sendOnce: createSendOnce(parts.runOnce, parts.audit.noteSend),
    clients,
  };
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // Nothing here has a version that a client could have cached: `If-None-Match: *` would turn a probe's 200 into an
  // empty 304.
  Object.defineProperty(app.request, 'fresh', { value: false });
  app.enable('case sensitive routing');
  // Repeated or nested parameters have no meaning here: `simple` gives strings and lists, never objects.
  app.set('query parser', 'simple');
  app.use(beginAnswer(health.isStopping));
  // Its listeners and child loggers cost as much as a send, so it is mounted only where its lines are wanted.
  if (logger.isLevelEnabled('debug')) app.use(logRequests(logger, clients));
  app.use(helmet(API_HEADERS));
  app.use(answerBrowsers(config.corsOrigins));
  // The most frequent routes come first. Mounted on the application itself: a router below a prefix would match each
  // request twice.
  mountRoutes(app, '/websocket', websocketRoutes(parts, guards));
  mountRoutes(app, '/api/gateway', gatewayRoutes({ ...parts, uptimeSeconds: health.uptimeSeconds }, guards));
  mountRoutes(app, '/topics', topicRoutes(parts.topics, parts.messages, guards));
  mountRoutes(app, '/inbox', inboxRoutes(parts.inbox, guards));
  mountRoutes(app, '/messages', messageRoutes(parts, guards));
  mountRoutes(app, '/scheduled', scheduleRoutes(parts.schedule, guards));
  mountRoutes(app, '/users', userRoutes(parts, guards));
  mountRoutes(app, '/audit', auditRoutes(parts.audit, guards));
  mountRoutes(app, '', healthRoutes(health));
  mountRoutes(app, '', documentRoutes(parts.makeDevelopmentToken === undefined ? [] : SAMPLE_USERS));
  mountRoutes(app, '', developmentRoutes(parts.makeDevelopmentToken));
  mountRoutes(app, '', specificationRoutes(clients));
  app.use(refuseUnknownPath);
  app.use(limitRefusals(limits));
  app.use(renderError(logger, metrics, clients));
  const onUnsent = (response: ServerResponse) =>
    parts.watchAnswer(response, knownCallerOf(response.req as Request)?.userId);
  return { handle: app as unknown as HttpHandler, classes: createHttpClasses(app, onUnsent) };
}

/** Gives the request an id, and closes keep-alive connections while the service stops. */
function beginAnswer(isStopping: () => boolean): RequestHandler {
  return (_request, response, next) => {
    response.setHeader('X-Request-Id', randomUUID());
    if (isStopping()) response.setHeader('Connection', 'close');
    next();
  };
}

/** CORS, for requests from a page; services send no Origin. */
function answerBrowsers(origins: Config['corsOrigins']): RequestHandler {
  const allow = cors({ ...corsOptionsOf(origins), exposedHeaders: EXPOSED_HEADERS });
  return (request, response, next) => (request.headers.origin === undefined ? next() : allow(request, response, next));
}

/** At level debug, one line for each answer, without headers and bodies. */
function logRequests(logger: Logger, clients: Clients): RequestHandler {
  return pinoHttp({
    logger,
    genReqId: (_request, response) => requestIdOf(response),
    quietReqLogger: true,
    useLevel: 'debug',
    customProps: (request) => ({ address: clients.read(request).address }),
    serializers: {
      req: (request: { method: string; url: string }) => ({ method: request.method, url: redact(request.url) }),
      res: (response: { statusCode: number }) => ({ statusCode: response.statusCode }),
    },
  });
}
