/**
 * Configuration: the checks, `.env.example` and docs/reference/configuration.md come from one schema. Read once at
 * start, frozen, passed as an argument. Names carry their unit.
 */
import { createPublicKey, createSecretKey } from 'node:crypto';
import { z } from 'zod';
import { findPrinting } from './debug-output';
import { inputSentences } from './input-sentences';
import { parseOriginEntry } from './origins';
import { parseTrust } from './proxies';
import { algorithmOf, type VerificationKey } from './verification-keys';

const MINUTE_MS = 60_000;
/** RFC 7518, section 3.2: a key for HS256 is at least as long as the hash, 256 bits. */
const MIN_SECRET_BYTES = 32;

/** Decimal digits only: Number() would also accept '', '0x10' and '1e3'. */
function integer(minimum: number, maximum: number) {
  const form = `must be a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, form)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, form);
}

const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;

const flag = z.enum(['true', 'false'], 'must be true or false').transform((value) => value === 'true');
const filled = z.string().min(1);

/** Keys must come from their real issuer: over TLS, or from this machine. fetch accepts no password. */
function isKeySetUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  const isLocal = hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return (protocol === 'https:' || (protocol === 'http:' && isLocal)) && username === '' && password === '';
}

interface VariableNote {
  /** One line, for `.env.example` and the reference. */
  readonly about: string;
  /** The value used if the variable is not set, as it would be written. */
  readonly standard?: string;
}

function variable<Schema extends z.ZodType>(schema: Schema, note: VariableNote): Schema {
  notes.add(schema, note);
  return schema;
}

const notes = z.registry<VariableNote>();

/** A variable with a default: the default is written once, as text, and passes the same check. */
function withDefault<Schema extends z.ZodType<unknown, string>>(schema: Schema, standard: string, about: string) {
  return variable(schema.prefault(standard as z.input<Schema>), { about, standard });
}

function optional<Schema extends z.ZodType>(schema: Schema, about: string) {
  return variable(schema.optional(), { about });
}

/** What users may do to each other: allowed in development, and in production only if it is set. */
function openUntilProduction(about: string) {
  return optional(flag, `${about}; when not set: true in development, false in production`);
}

const MAX_INTERVAL_MS = 3_600_000;

function isPublicUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && [username, password, search, hash].every((part) => part === '');
}

/** The Redis driver treats a path as a number, and decodes user and password. */
function isRedisUrl(text: string): boolean {
  if (!/^rediss?:\/\/[^/]/.test(text) || !URL.canParse(text)) return false;
  const { pathname, username, password } = new URL(text);
  return /^(\/\d*)?$/.test(pathname) && [username, password].every(isEncoded);
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    // A % that does not start an escape.
    return false;
  }
}

function toLinkBase(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`.replace(/\/+$/, '');
}

const variables = z.object({
  NODE_ENV: withDefault(
    z.enum(['production', 'development', 'test'], 'must be production, development or test'),
    'development',
    'production does not start without a key, and prints no tokens',
  ),
  PORT: withDefault(integer(0, 65_535), '8090', 'TCP port; 0 takes a free one'),
  HOST: withDefault(filled, '0.0.0.0', 'address to listen on'),
  PUBLIC_URL: optional(
    z
      .string()
      .refine(isPublicUrl, 'must be https://HOST or https://HOST/PATH, without user, query or fragment')
      .transform(toLinkBase),
    'https://HOST/PATH under which clients reach the service, for links; taken from the request when not set',
  ),
  TRUST_PROXY: optional(
    z.string().superRefine((text, context) => {
      const parsed = parseTrust(text);
      if (typeof parsed === 'string') context.addIssue({ code: 'custom', message: parsed });
    }),
    'proxies whose Forwarded or X-Forwarded-… headers are trusted: a number of hops, or addresses and subnets separated by commas; none when not set',
  ),
  KEEP_ALIVE_TIMEOUT_MS: withDefault(
    integer(100, MAX_INTERVAL_MS),
    '70000',
    'time after which an idle HTTP connection is closed; keep it longer than the idle timeout of the load balancer in front',
  ),
  JWT_SECRET: optional(filled, 'secret for HS256 tokens; at least 32 bytes in production'),
  JWT_PUBLIC_KEY: optional(
    filled,
    'PEM of the public key for RS256 or ES256 tokens; line breaks may be written as \\n',
  ),
  JWT_JWKS_URL: optional(
    z.string().refine(isKeySetUrl, 'must be https://HOST/PATH, or http:// on this machine, without user and password'),
    'https URL of the issuer’s key set (JWKS), for RS256 and ES256 tokens; its keys may change at any time',
  ),
  JWT_ISSUER: optional(filled, 'required value of `iss`'),
  JWT_AUDIENCE: optional(filled, 'required value of `aud`'),
  JWT_REQUIRE_EXP: withDefault(flag, 'false', 'refuse tokens without `exp`'),
  JWT_USER_CLAIM: withDefault(
    filled,
    'sub',
    'claim that names the user; dots lead into objects (user.id), and claims whose own name contains dots work, too',
  ),
  JWT_SCOPE_CLAIM: optional(
    filled,
    'claim that holds the scopes, as a string or an array, for example realm_access.roles or permissions; scope and scopes when not set',
  ),
  JWT_SCOPE_PREFIX: optional(
    filled,
    'prefix of the scopes for this service: with tidings: the scope tidings:send means send, and scopes without the prefix are ignored',
  ),
  STORE_URL: optional(
    z.string().regex(/^(lmdb:.+|mongodb(\+srv)?:\/\/.+)$/, 'must be lmdb:DIRECTORY or mongodb://HOST/DATABASE'),
    'lmdb:DIRECTORY for the embedded store, or mongodb://HOST/DATABASE for several nodes; lmdb:DATA_DIR when not set',
  ),
  REDIS_URL: optional(
    z
      .string()
      .refine(isRedisUrl, 'must be redis://HOST or rediss://HOST, optionally followed by /NUMBER of a database'),
    'redis://HOST through which nodes notify each other of messages; needs a mongodb store',
  ),
  CLUSTER_SECRET: optional(
    z
      .string()
      .refine((text) => Buffer.byteLength(text) >= MIN_SECRET_BYTES, `must have at least ${MIN_SECRET_BYTES} bytes`)
      .transform((text) => createSecretKey(Buffer.from(text, 'utf8'))),
    'secret with which all nodes sign what they send each other through Redis, at least 32 bytes; unsigned when not set',
  ),
  REDIS_REQUIRED: withDefault(
    flag,
    'true',
    'whether a node refuses to start without Redis; with false it starts degraded',
  ),
  CORS_ORIGIN: optional(
    filled,
    'origins from which browsers may call, separated by commas: https://app.example.com, https://*.example.com, ' +
      'capacitor://localhost; or *. When not set: * in development, none in production',
  ),
  RATE_LIMIT_PER_MINUTE: withDefault(integer(1, 1e9), '600', 'HTTP requests per caller and minute'),
  RATE_LIMIT_SERVICE_PER_MINUTE: withDefault(integer(1, 1e9), '60000', 'the same for callers with scope send'),
  SOCKET_EVENTS_PER_SECOND: withDefault(
    integer(1, 1e6),
    '50',
    'events per connection and second, with bursts of 4 times as many',
  ),
  HANDSHAKES_PER_SECOND: withDefault(integer(1, 1e6), '500', 'new connections per second, from all addresses together'),
  MAX_CONNECTIONS: withDefault(integer(1, 1e7), '50000', 'open connections in total'),
  MAX_CONNECTIONS_PER_USER: withDefault(integer(1, 1e6), '20', 'open connections of one user'),
  MAX_CONNECTIONS_PER_ADDRESS: withDefault(integer(1, 1e7), '10000', 'open connections from one address'),
  TOO_MANY: withDefault(
    z.enum(['refuse', 'close-oldest'], 'must be refuse or close-oldest'),
    'refuse',
    'what happens beyond MAX_CONNECTIONS_PER_USER',
  ),
  MAX_DEVICES_PER_USER: withDefault(
    integer(1, 1_000),
    '50',
    'devices of one user whose cursors are kept; beyond that, the one that acknowledged least recently is forgotten',
  ),
  MAX_TOPICS_PER_USER: withDefault(integer(1, 1e6), '1000', 'topics that one user may create and join'),
  MAX_INVITED_TOPICS_PER_USER: withDefault(integer(1, 1e6), '1000', 'topics that others may add one user to'),
  MAX_SCHEDULED_PER_USER: withDefault(
    integer(1, 1e6),
    '1000',
    'scheduled messages that one user without scope `send` may have',
  ),
  PING_INTERVAL_MS: withDefault(integer(100, MAX_INTERVAL_MS), '25000', 'time between heartbeats'),
  PING_TIMEOUT_MS: withDefault(
    integer(100, MAX_INTERVAL_MS),
    '20000',
    'silence after a heartbeat that closes the connection',
  ),
  MAX_BODY_BYTES: withDefault(integer(1024, 1e9), '1048576', 'largest HTTP body or socket frame'),
  MAX_MESSAGE_BYTES: withDefault(integer(1, 1e9), '65536', 'largest `data` of one message, as JSON in UTF-8'),
  MAX_BUFFERED_BYTES: withDefault(
    integer(1024, 1e9),
    '1048576',
    'unsent bytes per connection; beyond that it is closed',
  ),
  RETENTION_DAYS: withDefault(
    integer(1, 36_500),
    '60',
    'days for which messages are kept, and the cursors of devices that do not connect',
  ),
  AUDIT_RETENTION_DAYS: withDefault(
    integer(0, 36_500),
    '90',
    'days for which entries of the audit log are kept; 0 records nothing and removes existing entries',
  ),
  AUTHORIZATION: withDefault(
    z.enum(['scopes', 'open'], 'must be scopes or open'),
    'scopes',
    'open turns scopes off; refused in production',
  ),
  AUTH_ERROR_EVENT: withDefault(
    flag,
    'false',
    'refuse Socket.IO connections with the event `error` instead of connect_error',
  ),
  DIRECT_MESSAGES: openUntilProduction('whether users may send messages to each other; otherwise only with scope send'),
  TOPIC_CREATION: openUntilProduction('whether users may create topics; otherwise only with scope send'),
  PRESENCE_PUBLIC: openUntilProduction(
    'whether every user may see and watch who is online; otherwise only with scope presence',
  ),
  PRESENCE_GRACE_MS: withDefault(
    integer(0, MAX_INTERVAL_MS),
    '3000',
    'time without a connection after which a user counts as offline for those who watch',
  ),
  SHUTDOWN_TIMEOUT_MS: withDefault(integer(100, 10 * MINUTE_MS), '10000', 'longest time that a stop may take'),
  LOG_LEVEL: withDefault(z.enum(LOG_LEVELS), 'info', 'least severe level that is logged'),
  DATA_DIR: withDefault(filled, './data', 'directory of the embedded store and of the development secret'),
  NODE_ID: optional(
    z.string().regex(/^[\w.-]{1,64}$/, 'must have 1 to 64 letters, digits or . _ -'),
    'name of the node in the log; random when not set',
  ),
});

type Variables = z.output<typeof variables>;

/** What verifies tokens. `development-secret`: none was configured, so one is made in DATA_DIR. */
export type TokenKey =
  | ({ readonly kind: 'secret' | 'public-key' } & VerificationKey)
  | { readonly kind: 'key-set'; readonly url: string }
  | { readonly kind: 'development-secret' };

/** Which engine is the store, and its address, which may contain a password. */
export type StoreLocation =
  | { readonly kind: 'lmdb'; readonly directory: string }
  | { readonly kind: 'mongodb'; readonly url: string };

export type Config = Readonly<
  Omit<Variables, 'STORE_URL' | 'JWT_SECRET' | 'JWT_PUBLIC_KEY' | 'JWT_JWKS_URL' | 'REDIS_URL' | 'CORS_ORIGIN'>
> & {
  readonly tokenKey: TokenKey;
  readonly store: StoreLocation;
  /** Where nodes publish hints; absent for a single node. May contain a password. */
  readonly redisUrl: string | undefined;
  /** `'*'`, or the allowed origins, see origins.ts; empty: only the service's own. */
  readonly corsOrigins: '*' | readonly string[];
  readonly isProduction: boolean;
  /** The names under which libraries print requests, with tokens, because DEBUG selects them. None in production. */
  readonly debugNames: readonly string[];
  /** May users write to each other, create topics, see who is online? */
  readonly DIRECT_MESSAGES: boolean;
  readonly TOPIC_CREATION: boolean;
  readonly PRESENCE_PUBLIC: boolean;
};

/** All faults of the environment at once, one per line: `VARIABLE must be …`. Values are never shown. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The configuration is not valid:\n${problems.map((line) => `  ${line}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/**
 * Reads the configuration from environment variables; an empty value counts as not set.
 * @throws ConfigError with all faults.
 */
export function parseConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const problems: string[] = [];
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = parseVariables(given, problems);
  const tokenKey = chooseTokenKey(given, problems);
  const corsOrigins = parseOrigins(given, problems);
  refuseLonelyStores(given, problems);
  if (given['NODE_ENV'] === 'production' && given['AUTHORIZATION'] === 'open') {
    problems.push('AUTHORIZATION must be scopes in production, not open');
  }
  const debugNames = findPrinting(given['DEBUG']);
  if (given['NODE_ENV'] === 'production' && debugNames.length > 0) {
    problems.push('DEBUG must not name libraries in production: they print requests together with their tokens');
  }
  if (parsed === undefined || tokenKey === undefined || problems.length > 0) throw new ConfigError(problems);
  const { STORE_URL, JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL, REDIS_URL, CORS_ORIGIN, ...rest } = parsed;
  const isProduction = rest.NODE_ENV === 'production';
  const store = locateStore(STORE_URL, rest.DATA_DIR);
  const open = closedInProduction(parsed, isProduction);
  const made = { tokenKey, store, redisUrl: REDIS_URL, corsOrigins, isProduction, debugNames };
  return Object.freeze({ ...rest, ...open, ...made });
}

/** What users may do to each other: in development everything, in production nothing, unless it is set. */
function closedInProduction(given: Variables, isProduction: boolean) {
  const { DIRECT_MESSAGES = !isProduction, TOPIC_CREATION = !isProduction, PRESENCE_PUBLIC = !isProduction } = given;
  return { DIRECT_MESSAGES, TOPIC_CREATION, PRESENCE_PUBLIC };
}

function locateStore(url: string | undefined, dataDirectory: string): StoreLocation {
  if (url === undefined) return { kind: 'lmdb', directory: dataDirectory };
  return url.startsWith('lmdb:') ? { kind: 'lmdb', directory: url.slice('lmdb:'.length) } : { kind: 'mongodb', url };
}

type Environment = Readonly<Record<string, string | undefined>>;

function parseVariables(environment: Environment, problems: string[]): Variables | undefined {
  const result = variables.safeParse(environment, inputSentences);
  if (result.success) return result.data;
  for (const issue of result.error.issues) problems.push(`${issue.path.join('.')} ${issue.message}`);
  return undefined;
}

const KEY_VARIABLES = ['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWT_JWKS_URL'] as const;

function chooseTokenKey(environment: Environment, problems: string[]): TokenKey | undefined {
  const { JWT_SECRET: secret, JWT_PUBLIC_KEY: pem, JWT_JWKS_URL: url, NODE_ENV } = environment;
  const isProduction = NODE_ENV === 'production';
  const given = KEY_VARIABLES.filter((name) => environment[name] !== undefined);
  if (given.length > 1) {
    problems.push(`${given.join(', ')} exclude each other: keep one, and unset the others`);
    return undefined;
  }
  if (secret !== undefined) return secretKey(secret, isProduction, problems);
  if (pem !== undefined) return publicKey(pem, problems);
  if (url !== undefined) return { kind: 'key-set', url };
  if (!isProduction) return { kind: 'development-secret' };
  problems.push('JWT_SECRET is required in production, with at least 32 bytes (or JWT_PUBLIC_KEY or JWT_JWKS_URL)');
  return undefined;
}

function secretKey(secret: string, isProduction: boolean, problems: string[]): TokenKey | undefined {
  if (secret.includes('-----BEGIN')) {
    problems.push('JWT_SECRET must be a secret, not a PEM: a public key belongs in JWT_PUBLIC_KEY');
    return undefined;
  }
  if (isProduction && Buffer.byteLength(secret) < MIN_SECRET_BYTES) {
    problems.push(`JWT_SECRET must have at least ${MIN_SECRET_BYTES} bytes in production`);
    return undefined;
  }
  return { kind: 'secret', key: createSecretKey(Buffer.from(secret, 'utf8')), algorithm: 'HS256' };
}

function publicKey(text: string, problems: string[]): TokenKey | undefined {
  const form = 'must be the PEM of an RSA public key (2048 bits or more) or of a P-256 public key';
  const pem = text.replaceAll('\\n', '\n');
  if (!pem.includes('-----BEGIN PUBLIC KEY-----') && !pem.includes('-----BEGIN RSA PUBLIC KEY-----')) {
    problems.push(`JWT_PUBLIC_KEY ${form}`);
    return undefined;
  }
  try {
    const key = createPublicKey(pem);
    const algorithm = algorithmOf(key);
    if (algorithm !== undefined) return { kind: 'public-key', key, algorithm };
    problems.push(`JWT_PUBLIC_KEY ${form}`);
  } catch {
    // The parser's message can quote the key, so the sentence names only the variable.
    problems.push(`JWT_PUBLIC_KEY cannot be read: it ${form}`);
  }
  return undefined;
}

function parseOrigins(environment: Environment, problems: string[]): '*' | readonly string[] {
  const text = environment['CORS_ORIGIN'];
  if (text === undefined) return environment['NODE_ENV'] === 'production' ? [] : '*';
  if (text.trim() === '*') return '*';
  const entries = text.split(',').map((entry) => parseOriginEntry(entry.trim()));
  const origins = entries.filter((entry) => entry !== undefined);
  if (origins.length < entries.length) {
    problems.push(
      'CORS_ORIGIN must be *, or origins as browsers send them, separated by commas: https://app.example.com, ' +
        'https://*.example.com or capacitor://localhost, in lower case and without a path',
    );
  }
  return origins;
}

/** Nodes that notify each other of messages but have separate stores would lose messages. */
function refuseLonelyStores(environment: Environment, problems: string[]): void {
  const { REDIS_URL, STORE_URL = 'lmdb:' } = environment;
  if (REDIS_URL !== undefined && STORE_URL.startsWith('lmdb:')) {
    problems.push('REDIS_URL needs STORE_URL=mongodb://HOST/DATABASE beside it: several nodes share one store');
  }
}

export interface VariableDescription extends VariableNote {
  readonly name: string;
}

/** All variables in the order of the schema, for `.env.example` and the reference. */
export function describeVariables(): VariableDescription[] {
  return Object.entries(variables.shape).map(([name, schema]) => {
    const note = notes.get(schema);
    if (note === undefined) throw new Error(`${name} has no description`);
    return { name, ...note };
  });
}

/** The text of `.env.example`: every variable as a comment, with its default. */
export function renderEnvExample(): string {
  const blocks = describeVariables().map(({ name, about, standard }) => `# ${about}\n# ${name}=${standard ?? ''}\n`);
  const head = [
    '# Copy to .env and uncomment what you change. An empty value counts as not set.',
    '# A # begins a comment, even inside a value: quote a value that contains one, as in JWT_SECRET="se#cret".',
    '# Save the file as UTF-8 without a byte order mark.',
  ];
  return `${head.join('\n')}\n\n${blocks.join('\n')}`;
}
