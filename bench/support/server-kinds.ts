import { join } from 'node:path';
import { JWT_SECRET } from './tokens';

/** What the benchmark must know about a server to start it and talk to it. */
export interface ServerKind {
  /** Arguments of node, relative to the project's folder. */
  readonly command: readonly string[];
  environment(directory: string): Readonly<Record<string, string>>;
  /** `plain`: the service's endpoint without Socket.IO. `raw`: nothing but messages. */
  readonly wire: 'socket.io' | 'plain' | 'raw';
  /** Event after which a socket misses nothing any more; without one, being connected is enough. */
  readonly readyEvent?: string;
  readonly sendPath: string;
  readonly broadcastPath: string;
  /** Where named topics are created; only the service has them. */
  readonly topicsPath?: string;
}

/** One server in a comparison. The label is its name in the report. */
export interface Contestant {
  readonly label: string;
  readonly kind: ServerKind;
}

const SOCKET_IO_PATHS = {
  sendPath: '/websocket/message/user',
  broadcastPath: '/websocket/message/broadcast',
} as const;

/** Every guard stays on; only limits that the load itself would reach are lifted. */
const LIFTED_LIMITS = {
  RATE_LIMIT_PER_MINUTE: '100000000',
  TOPIC_CREATION: 'true',
  RATE_LIMIT_SERVICE_PER_MINUTE: '100000000',
  HANDSHAKES_PER_SECOND: '100000',
  MAX_CONNECTIONS_PER_ADDRESS: '100000',
  MAX_CONNECTIONS_PER_USER: '100000',
} as const;

/** Where the service keeps its store below its data directory. */
export function storePath(directory: string): string {
  return join(directory, 'store');
}

const tidings: ServerKind = {
  command: ['dist/server.js'],
  environment: (directory) => ({
    ...LIFTED_LIMITS,
    DATA_DIR: directory,
    STORE_URL: `lmdb:${storePath(directory)}`,
    JWT_SECRET,
    LOG_LEVEL: 'warn',
  }),
  wire: 'socket.io',
  readyEvent: 'sync:done',
  ...SOCKET_IO_PATHS,
  topicsPath: '/topics',
};

/** One node of several on one store. */
export function createNode(label: string, storeUrl: string, redisUrl: string): Contestant {
  return createConfigured(label, { STORE_URL: storeUrl, REDIS_URL: redisUrl });
}

const expressSocketIo: ServerKind = {
  command: ['--import=tsx', 'bench/peers/express-socket-io.ts'],
  environment: () => ({ JWT_SECRET }),
  wire: 'socket.io',
  ...SOCKET_IO_PATHS,
};

/** The program that most people would write by hand for several nodes. */
export function createScaledOut(label: string, storeUrl: string, redisUrl: string): Contestant {
  const kind: ServerKind = {
    ...expressSocketIo,
    command: ['--import=tsx', 'bench/peers/express-scaled-out.ts'],
    environment: () => ({ JWT_SECRET, STORE_URL: storeUrl, REDIS_URL: redisUrl }),
  };
  return { label, kind };
}

const rawWs: ServerKind = {
  command: ['--import=tsx', 'bench/peers/raw-ws.ts'],
  environment: () => ({}),
  wire: 'raw',
  sendPath: '/send',
  broadcastPath: '/broadcast',
};

export const TIDINGS: Contestant = { label: 'tidings', kind: tidings };
export const BY_HAND: Contestant = { label: 'by hand', kind: expressSocketIo };
/** The same program in a second process: how much two equal servers differ is the noise of a comparison. */
export const BY_HAND_AGAIN: Contestant = { label: 'by hand again', kind: expressSocketIo };
export const RAW_WS: Contestant = { label: 'raw ws', kind: rawWs };
/** The noise where others are compared with raw ws. */
export const RAW_WS_AGAIN: Contestant = { label: 'raw ws again', kind: rawWs };

/** The service, with two ways of sending; each has its own process. */
export const TIDINGS_BATCH: Contestant = { label: 'batches of 100', kind: tidings };
export const TIDINGS_SINGLE: Contestant = { label: 'single sends', kind: tidings };
export const TIDINGS_SINGLE_AGAIN: Contestant = { label: 'single sends again', kind: tidings };

/** The service with settings other than the benchmark's. */
export function createConfigured(label: string, settings: Readonly<Record<string, string>>): Contestant {
  const environment = (directory: string) => ({ ...tidings.environment(directory), ...settings });
  return { label, kind: { ...tidings, environment } };
}

/** The service with all clients on one of the endpoints. */
export const TIDINGS_PLAIN: Contestant = { label: `${TIDINGS.label} plain`, kind: { ...tidings, wire: 'plain' } };
export const TIDINGS_SOCKET_IO: Contestant = { label: `${TIDINGS.label} Socket.IO`, kind: tidings };
