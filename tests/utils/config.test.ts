import { generateKeyPairSync } from 'node:crypto';
import { ConfigError, describeVariables, parseConfig } from '../../utils/config';

const SECRET = 'x'.repeat(32);

function problemsOf(environment: Record<string, string>): readonly string[] {
  try {
    parseConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('parseConfig', () => {
  it('has the defaults of the contract', () => {
    expect(parseConfig({})).toMatchObject({
      PORT: 8090,
      HOST: '0.0.0.0',
      RATE_LIMIT_PER_MINUTE: 600,
      RATE_LIMIT_SERVICE_PER_MINUTE: 60_000,
      SOCKET_EVENTS_PER_SECOND: 50,
      HANDSHAKES_PER_SECOND: 500,
      MAX_CONNECTIONS: 50_000,
      MAX_CONNECTIONS_PER_USER: 20,
      MAX_CONNECTIONS_PER_ADDRESS: 10_000,
      TOO_MANY: 'refuse',
      MAX_TOPICS_PER_USER: 1_000,
      MAX_INVITED_TOPICS_PER_USER: 1_000,
      MAX_SCHEDULED_PER_USER: 1_000,
      DIRECT_MESSAGES: true,
      TOPIC_CREATION: true,
      PRESENCE_PUBLIC: true,
      PING_INTERVAL_MS: 25_000,
      PING_TIMEOUT_MS: 20_000,
      JWT_REQUIRE_EXP: false,
      MAX_BODY_BYTES: 1_048_576,
      MAX_MESSAGE_BYTES: 65_536,
      MAX_BUFFERED_BYTES: 1_048_576,
      RETENTION_DAYS: 60,
      AUTHORIZATION: 'scopes',
      AUTH_ERROR_EVENT: false,
      SHUTDOWN_TIMEOUT_MS: 10_000,
      LOG_LEVEL: 'info',
      DATA_DIR: './data',
      store: { kind: 'lmdb', directory: './data' },
      corsOrigins: '*',
      tokenKey: { kind: 'development-secret' },
    });
  });

  it('is frozen', () => {
    expect(Object.isFrozen(parseConfig({}))).toBe(true);
  });

  it('reports every fault at once, naming the variable and the expected form, never the value', () => {
    const problems = problemsOf({
      PORT: 'eighty',
      RETENTION_DAYS: '-1',
      TOO_MANY: 'drop',
      JWT_REQUIRE_EXP: 'yes',
      LOG_LEVEL: 'loud',
    });
    expect(problems).toEqual([
      'PORT must be a whole number from 0 to 65535',
      'JWT_REQUIRE_EXP must be true or false',
      'TOO_MANY must be refuse or close-oldest',
      'RETENTION_DAYS must be a whole number from 1 to 36500',
      'LOG_LEVEL must be one of silent, fatal, error, warn, info, debug, trace',
    ]);
  });

  it.each(['', ' 1', '1e3', '0x10', '1.5', '99999', '-1', 'Infinity'])('refuses the port %j', (port) => {
    const problems = problemsOf({ PORT: port });
    // An empty value counts as not set.
    expect(problems).toEqual(port === '' ? [] : ['PORT must be a whole number from 0 to 65535']);
  });

  it.each([
    ['production without a key', { NODE_ENV: 'production' }, 'JWT_SECRET'],
    ['a short secret in production', { NODE_ENV: 'production', JWT_SECRET: 'short' }, 'JWT_SECRET'],
    ['31 bytes in production', { NODE_ENV: 'production', JWT_SECRET: 'x'.repeat(31) }, 'JWT_SECRET'],
    ['a PEM as secret', { JWT_SECRET: '-----BEGIN PUBLIC KEY-----\nabc' }, 'JWT_SECRET'],
    ['two keys', { JWT_SECRET: SECRET, JWT_PUBLIC_KEY: 'x' }, 'JWT_SECRET'],
    ['a public key that is none', { JWT_PUBLIC_KEY: 'abc' }, 'JWT_PUBLIC_KEY'],
    [
      'a broken public key',
      { JWT_PUBLIC_KEY: '-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----' },
      'JWT_PUBLIC_KEY',
    ],
    [
      'open authorization in production',
      { NODE_ENV: 'production', JWT_SECRET: SECRET, AUTHORIZATION: 'open' },
      'AUTHORIZATION',
    ],
    ['a public address with a query', { PUBLIC_URL: 'https://x.example/?a' }, 'PUBLIC_URL'],
    ['a public address of another scheme', { PUBLIC_URL: 'ftp://x.example' }, 'PUBLIC_URL'],
    ['trust in everybody', { TRUST_PROXY: 'true' }, 'TRUST_PROXY'],
    ['trust in all addresses', { TRUST_PROXY: '0.0.0.0/0' }, 'TRUST_PROXY'],
    ['a wildcard in the middle', { CORS_ORIGIN: 'https://a.*.example.com' }, 'CORS_ORIGIN'],
    ['an origin with a path', { CORS_ORIGIN: 'https://a.example/x' }, 'CORS_ORIGIN'],
    ['a store of another kind', { STORE_URL: 'sqlite:x' }, 'STORE_URL'],
    ['a store of no known kind', { STORE_URL: 'postgres://localhost/x' }, 'STORE_URL'],
    ['Redis of no known kind', { REDIS_URL: 'localhost:6379', STORE_URL: 'mongodb://localhost/x' }, 'REDIS_URL'],
    ['Redis with a path', { REDIS_URL: 'redis://h/abc', STORE_URL: 'mongodb://localhost/x' }, 'REDIS_URL'],
    ['Redis with a bad escape', { REDIS_URL: 'redis://u:%zz@h', STORE_URL: 'mongodb://localhost/x' }, 'REDIS_URL'],
    ['Redis with a store for one node', { REDIS_URL: 'redis://localhost' }, 'REDIS_URL'],
    ['a secret and a key set', { JWT_SECRET: SECRET, JWT_JWKS_URL: 'https://a.example/jwks' }, 'JWT_JWKS_URL'],
    ['a key set that is no URL', { JWT_JWKS_URL: 'a.example/jwks' }, 'JWT_JWKS_URL'],
    ['a key set over http', { JWT_JWKS_URL: 'http://a.example/jwks' }, 'JWT_JWKS_URL'],
    ['a key set on what looks like this machine', { JWT_JWKS_URL: 'http://127.0.0.1.a.example/' }, 'JWT_JWKS_URL'],
    ['a key set in a file', { JWT_JWKS_URL: 'file:///etc/jwks.json' }, 'JWT_JWKS_URL'],
    ['a key set behind a password', { JWT_JWKS_URL: 'https://me:hunter2@a.example/jwks' }, 'JWT_JWKS_URL'],
  ])('refuses %s', (_name, environment, variable) => {
    const problems = problemsOf(environment);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(variable);
  });

  it.each([
    'https://a.example/jwks?client=x',
    'http://localhost:8080/jwks',
    'http://127.0.0.1/jwks',
    'http://[::1]/jwks',
  ])('accepts the key set at %s, in production too', (url) => {
    const { tokenKey } = parseConfig({ NODE_ENV: 'production', JWT_JWKS_URL: url });
    expect(tokenKey).toEqual({ kind: 'key-set', url });
  });

  it('does not show a secret in its words', () => {
    const problems = problemsOf({ NODE_ENV: 'production', JWT_SECRET: 'hunter2' }).join();
    expect(problems).not.toContain('hunter2');
  });

  it.each([
    ['rsa' as const, { modulusLength: 2048 }, 'RS256'],
    ['ec' as const, { namedCurve: 'P-256' }, 'ES256'],
  ])('pins the algorithm of a %s public key', (type, options, algorithm) => {
    const { publicKey } = generateKeyPairSync(type as 'rsa', options as { modulusLength: number });
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    expect(parseConfig({ JWT_PUBLIC_KEY: pem }).tokenKey).toMatchObject({ kind: 'public-key', algorithm });
    expect(parseConfig({ JWT_PUBLIC_KEY: pem.replaceAll('\n', '\\n') }).tokenKey).toMatchObject({ algorithm });
  });

  it('refuses a private key, and an RSA key of 1,024 bits', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const privatePem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    expect(problemsOf({ JWT_PUBLIC_KEY: privatePem })).toHaveLength(1);
    expect(problemsOf({ JWT_PUBLIC_KEY: publicPem })).toHaveLength(1);
  });

  it('keeps the store in STORE_URL, else in DATA_DIR', () => {
    expect(parseConfig({ DATA_DIR: '/a' }).store).toEqual({ kind: 'lmdb', directory: '/a' });
    expect(parseConfig({ DATA_DIR: '/a', STORE_URL: 'lmdb:/b' }).store).toEqual({ kind: 'lmdb', directory: '/b' });
    const url = 'mongodb://localhost/x';
    expect(parseConfig({ STORE_URL: url })).toMatchObject({ store: { kind: 'mongodb', url }, redisUrl: undefined });
    const redisUrl = 'redis://localhost';
    expect(parseConfig({ STORE_URL: url, REDIS_URL: redisUrl }).redisUrl).toBe(redisUrl);
  });

  it('isolates users from each other in production, unless it is set otherwise', () => {
    const production = { NODE_ENV: 'production', JWT_SECRET: SECRET };
    const closed = { DIRECT_MESSAGES: false, TOPIC_CREATION: false, PRESENCE_PUBLIC: false };
    expect(parseConfig(production)).toMatchObject(closed);
    expect(parseConfig({ ...production, DIRECT_MESSAGES: 'true' })).toMatchObject({ ...closed, DIRECT_MESSAGES: true });
    expect(parseConfig({ PRESENCE_PUBLIC: 'false' })).toMatchObject({ TOPIC_CREATION: true, PRESENCE_PUBLIC: false });
  });

  it('has no origin in production unless one is named', () => {
    const production = { NODE_ENV: 'production', JWT_SECRET: SECRET };
    expect(parseConfig(production).corsOrigins).toEqual([]);
    expect(parseConfig({ ...production, CORS_ORIGIN: 'https://a.example, https://b.example' }).corsOrigins).toEqual([
      'https://a.example',
      'https://b.example',
    ]);
  });

  it('takes the public address without a slash at its end', () => {
    expect(parseConfig({ PUBLIC_URL: 'https://X.example:443/notify/' }).PUBLIC_URL).toBe('https://x.example/notify');
    expect(parseConfig({ PUBLIC_URL: 'http://x.example:8080' }).PUBLIC_URL).toBe('http://x.example:8080');
  });

  it('describes each variable', () => {
    for (const { name, about } of describeVariables()) expect(`${name}: ${about}`).toMatch(/^[A-Z_]+: .{5,}/);
  });
});
