/** The whole service in this process: free port, own directory, quiet, stopped after the test. */
import { createSecretKey } from 'node:crypto';
import type { Server } from 'node:http';
import request from 'supertest';
import { createApplication, type Overrides } from '../../application';
import { createLogger, type Logger } from '../../services/observability/logger';
import { signToken } from '../../services/tokens/tokens';
import type { Balance } from '../../utils/balance';
import { parseConfig } from '../../utils/config';
import { stopBalanced } from './balance';
import { type ClientOptions, openClient, type TestClient } from './client';
import { onTestEnd, temporaryDirectory } from './temporary';

export const TEST_SECRET = 'a secret for tests that has more than thirty-two bytes';
const ALL_SCOPES = 'send broadcast presence admin';

export interface TestService {
  readonly url: string;
  readonly httpServer: Server;
  /** What is in use now. */
  balance(): Balance;
  readonly directory: string;
  readonly logger: Logger;
  /** A token of this user, with these scopes. */
  token(userId: string, scope?: string): string;
  /** supertest with a path: `api.post('/x')`; authorized as a service that may do everything. */
  readonly api: ReturnType<typeof request.agent>;
  /** supertest without a token. */
  readonly anonymous: ReturnType<typeof request.agent>;
  /** Opens a client and waits for `connected`. */
  connect(userId: string, options?: ClientOptions & { device?: string; scope?: string }): Promise<TestClient>;
  /** Sends a message with `data: {n}` for each number, in order; the bodies of the answers. */
  send(userId: string, numbers: readonly number[]): Promise<{ id: string; seq: number }[]>;
  stop(): Promise<void>;
  /** Stops, and starts again on the same directory. */
  restart(): Promise<TestService>;
}

export interface ServiceOptions {
  readonly env?: Record<string, string>;
  readonly overrides?: Overrides;
  readonly directory?: string;
  /** What the test leaves in use: see stopBalanced(). */
  readonly kept?: readonly string[];
}

export async function startService(options: ServiceOptions = {}): Promise<TestService> {
  const directory = options.directory ?? temporaryDirectory();
  const config = parseConfig({
    NODE_ENV: 'test',
    HOST: '127.0.0.1',
    PORT: '0',
    DATA_DIR: directory,
    JWT_SECRET: TEST_SECRET,
    LOG_LEVEL: 'silent',
    SHUTDOWN_TIMEOUT_MS: '200',
    RATE_LIMIT_PER_MINUTE: '1000000',
    RATE_LIMIT_SERVICE_PER_MINUTE: '1000000',
    ...options.env,
  });
  const logger = options.overrides?.logger ?? createLogger(config);
  const application = await createApplication(config, { ...options.overrides, logger });
  const { port } = await application.start();
  // Presence has the users of other nodes too, which end when their nodes do.
  const elsewhere = config.redisUrl === undefined ? [] : ['onlineUsers'];
  onTestEnd(() => stopBalanced(application, [...elsewhere, ...(options.kept ?? [])]));
  const url = `http://127.0.0.1:${port}`;
  const token = (userId: string, scope?: string) => testToken(userId, { scope });
  const api = request.agent(url).set('Authorization', `Bearer ${token('service', ALL_SCOPES)}`);

  return {
    url,
    httpServer: application.httpServer,
    balance: () => application.balance(),
    directory,
    logger,
    token,
    api,
    anonymous: request.agent(url),
    async connect(userId, { device, scope, ...clientOptions } = {}) {
      const auth = { token: token(userId, scope), ...(device === undefined ? {} : { device }) };
      const client = openClient(url, { auth, ...clientOptions });
      await client.next('connected');
      return client;
    },
    async send(userId, numbers) {
      const answers: { id: string; seq: number }[] = [];
      for (const n of numbers) {
        const { body } = await api
          .post('/websocket/message/user')
          .send({ userId, type: 'test', data: { n } })
          .expect(200);
        answers.push(body as { id: string; seq: number });
      }
      return answers;
    },
    stop: () => application.stop(),
    async restart() {
      await application.stop();
      return startService({ ...options, directory });
    },
  };
}

/** A token signed with the secret of the tests. */
export function testToken(
  userId: string,
  options: { scope?: string | undefined; lifetimeSeconds?: number } = {},
): string {
  return signToken(createSecretKey(Buffer.from(TEST_SECRET)), { userId, lifetimeSeconds: 3_600, ...options });
}

/** `from`, `from + 1`, …, `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_value, index) => from + index);
}
