/**
 * Configuration: one schema from which the checks, `.env.example` and docs/reference/configuration.md come.
 * Read once at start, frozen, passed as an argument. Names carry their unit.
 */
import { createPublicKey, createSecretKey } from 'node:crypto';
import { z } from 'zod';
import { findPrinting } from './debug-output';
import { parseOriginEntry } from './origins';
import { parseTrust } from './proxies';
import { algorithmOf, type VerificationKey } from './verification-keys';

const MINUTE_MS = 60_000;
/** RFC 7518 section 3.2: a key for HS256 has at least the size of the hash, 256 bits. */
const MIN_SECRET_BYTES = 32;

/** Decimal digits only: Number() would also take '', '0x10' and '1e3'. */
function integer(minimum: number, maximum: number) {
  const form = `a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, `expected ${form}`)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, `expected ${form}`);
}

const flag = z.enum(['true', 'false'], 'expected true or false').transform((value) => value === 'true');
const filled = z.string().min(1);

/** Keys must come from whom they say they come from: over TLS, or from this machine. fetch takes no password. */
function isKeySetUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  const isLocal = hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return (protocol === 'https:' || (protocol === 'http:' && isLocal)) && username === '' && password === '';
}

interface VariableNote {
  /** One line for `.env.example` and the reference. */
  readonly about: string;
  /** The value that holds when the variable is not set, as it would be written. */
  readonly standard?: string;
}

function variable<Schema extends z.ZodType>(schema: Schema, note: VariableNote): Schema {
  notes.add(schema, note);
  return schema;
}

const notes = z.registry<VariableNote>();

/** A variable with a default: the default is written once, as text, and goes through the same check. */
function withDefault<Schema extends z.ZodType<unknown, string>>(schema: Schema, standard: string, about: string) {
  return variable(schema.prefault(standard as z.input<Schema>), { about, standard });
}

function optional<Schema extends z.ZodType>(schema: Schema, about: string) {
  return variable(schema.optional(), { about });
}

/** What users may do to each other in development, and in production only where it is wanted. */
function openUntilProduction(about: string) {
  return optional(flag, `${about}; when not set: true in development, false in production`);
}

const MAX_INTERVAL_MS = 3_600_000;

function isPublicUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && [username, password, search, hash].every((part) => part === '');
}

/** The driver of Redis takes a number for a path, and decodes user and password. */
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
    // A % that begins nothing.
    return false;
  }
}

function toLinkBase(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`.replace(/\/+$/, '');
}

const variables = z.object({
  NODE_ENV: withDefault(
    z.enum(['production', 'development', 'test'], 'expected production, development or test'),
    'development',
    'production refuses to start without a key and prints no tokens',
  ),
  PORT: withDefault(integer(0, 65_535), '8090', 'TCP port; 0 takes a free one'),
  HOST: withDefault(filled, '0.0.0.0', 'address to listen on'),
  PUBLIC_URL: optional(
    z
      .string()
      .refine(isPublicUrl, 'expected https://HOST or https://HOST/PATH, without user, query and fragment')
      .transform(toLinkBase),
    'https://HOST/PATH under which clients reach the service, for links; as the request says when not set',
  ),
  TRUST_PROXY: optional(
    z.string().superRefine((text, context) => {
      const parsed = parseTrust(text);
      if (typeof parsed === 'string') context.addIssue({ code: 'custom', message: parsed });
    }),
    'proxies whose Forwarded or X-Forwarded-… headers are believed: a number of hops, or addresses and subnets, comma separated; none when not set',
  ),
  KEEP_ALIVE_TIMEOUT_MS: withDefault(
    integer(100, MAX_INTERVAL_MS),
    '70000',
    'time after which an idle HTTP connection is closed; longer than the idle time of the balancer before it',
  ),
  JWT_SECRET: optional(filled, 'secret of HS256 tokens, in production at least 32 bytes'),
  JWT_PUBLIC_KEY: optional(filled, 'PEM of the public key of RS256 or ES256 tokens; line ends may be written as \\n'),
  JWT_JWKS_URL: optional(
    z.string().refine(isKeySetUrl, 'expected https://HOST/PATH, or http:// on this machine, without user and password'),
    'https address of the key set (JWKS) of the issuer, for RS256 and ES256 tokens; its keys may change at any time',
  ),
  JWT_ISSUER: optional(filled, 'required value of `iss`'),
  JWT_AUDIENCE: optional(filled, 'required value of `aud`'),
  JWT_REQUIRE_EXP: withDefault(flag, 'false', 'refuse tokens without `exp`'),
  JWT_USER_CLAIM: withDefault(
    filled,
    'sub',
    'claim that names the user; a path with dots (user.id) leads into an object, a name that has dots itself is found too',
  ),
  JWT_SCOPE_CLAIM: optional(
    filled,
    'claim that has the scopes, as text or a list: realm_access.roles, permissions; scope and scopes when not set',
  ),
  JWT_SCOPE_PREFIX: optional(
    filled,
    'what scopes for this service begin with: with tidings: the scope tidings:send is send, and bare words are nothing',
  ),
  STORE_URL: optional(
    z.string().regex(/^(lmdb:.+|mongodb(\+srv)?:\/\/.+)$/, 'expected lmdb:DIRECTORY or mongodb://HOST/DATABASE'),
    'lmdb:DIRECTORY, the embedded store, or mongodb://HOST/DATABASE, for several nodes; lmdb:DATA_DIR when not set',
  ),
  REDIS_URL: optional(
    z
      .string()
      .refine(isRedisUrl, 'expected redis://HOST or rediss://HOST, with at most /NUMBER of a database behind it'),
    'redis://HOST, through which nodes tell each other of messages; needs a mongodb store',
  ),
  CLUSTER_SECRET: optional(
    z
      .string()
      .refine((text) => Buffer.byteLength(text) >= MIN_SECRET_BYTES, `expected at least ${MIN_SECRET_BYTES} bytes`)
      .transform((text) => createSecretKey(Buffer.from(text, 'utf8'))),
    'secret of all nodes, with which they sign what they tell each other through Redis, at least 32 bytes; unsigned when not set',
  ),
  REDIS_REQUIRED: withDefault(flag, 'true', 'must Redis be there at start? Else the node starts without it, degraded'),
  CORS_ORIGIN: optional(
    filled,
    'origins that browsers may call from, comma separated: https://app.example.com, https://*.example.com, ' +
      'capacitor://localhost; or *. When not set: * in development, none in production',
  ),
  RATE_LIMIT_PER_MINUTE: withDefault(integer(1, 1e9), '600', 'HTTP requests per caller and minute'),
  RATE_LIMIT_SERVICE_PER_MINUTE: withDefault(integer(1, 1e9), '60000', 'the same for callers with scope send'),
  SOCKET_EVENTS_PER_SECOND: withDefault(integer(1, 1e6), '50', 'events per socket and second, with a burst of 4 times'),
  HANDSHAKES_PER_SECOND: withDefault(integer(1, 1e6), '500', 'new connections per second, all addresses together'),
  MAX_CONNECTIONS: withDefault(integer(1, 1e7), '50000', 'open connections in all'),
  MAX_CONNECTIONS_PER_USER: withDefault(integer(1, 1e6), '20', 'open connections of one user'),
  MAX_CONNECTIONS_PER_ADDRESS: withDefault(integer(1, 1e7), '10000', 'open connections from one address'),
  TOO_MANY: withDefault(
    z.enum(['refuse', 'close-oldest'], 'expected refuse or close-oldest'),
    'refuse',
    'what happens beyond MAX_CONNECTIONS_PER_USER',
  ),
  MAX_DEVICES_PER_USER: withDefault(
    integer(1, 1_000),
    '50',
    'devices of one user whose places are kept; beyond, the one that has acknowledged longest ago is forgotten',
  ),
  MAX_TOPICS_PER_USER: withDefault(integer(1, 1e6), '1000', 'topics that one user may create and join'),
  MAX_INVITED_TOPICS_PER_USER: withDefault(integer(1, 1e6), '1000', 'topics to which others may add one user'),
  MAX_SCHEDULED_PER_USER: withDefault(
    integer(1, 1e6),
    '1000',
    'messages that may wait for their time, of one user without scope `send`',
  ),
  PING_INTERVAL_MS: withDefault(integer(100, MAX_INTERVAL_MS), '25000', 'time between heartbeats'),
  PING_TIMEOUT_MS: withDefault(integer(100, MAX_INTERVAL_MS), '20000', 'silence after a heartbeat that closes'),
  MAX_BODY_BYTES: withDefault(integer(1024, 1e9), '1048576', 'HTTP body or socket frame'),
  MAX_MESSAGE_BYTES: withDefault(integer(1, 1e9), '65536', '`data` of one message as JSON, UTF-8'),
  MAX_BUFFERED_BYTES: withDefault(integer(1024, 1e9), '1048576', 'unsent bytes per socket; beyond it is cut'),
  RETENTION_DAYS: withDefault(
    integer(1, 36_500),
    '60',
    'days for which messages are kept, and devices that do not connect',
  ),
  AUDIT_RETENTION_DAYS: withDefault(
    integer(0, 36_500),
    '90',
    'days for which entries of the audit log are kept; 0 records nothing and removes what there is',
  ),
  AUTHORIZATION: withDefault(
    z.enum(['scopes', 'open'], 'expected scopes or open'),
    'scopes',
    'open turns scopes off; refused in production',
  ),
  AUTH_ERROR_EVENT: withDefault(flag, 'false', 'tell refused sockets by the event `error` instead of connect_error'),
  DIRECT_MESSAGES: openUntilProduction('may users write to each other? Else only with scope send'),
  TOPIC_CREATION: openUntilProduction('may users create topics? Else only with scope send'),
  PRESENCE_PUBLIC: openUntilProduction(
    'may every user see who is online, and watch the lobby? Else only with scope presence',
  ),
  PRESENCE_GRACE_MS: withDefault(
    integer(0, MAX_INTERVAL_MS),
    '3000',
    'time without a connection after which a user has left the lobby',
  ),
  SHUTDOWN_TIMEOUT_MS: withDefault(integer(100, 10 * MINUTE_MS), '10000', 'longest time that stopping may take'),
  LOG_LEVEL: withDefault(
    z.enum(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'], 'expected a level such as info or debug'),
    'info',
    'least severe level that is logged',
  ),
  DATA_DIR: withDefault(filled, './data', 'directory of the embedded store and of the development secret'),
  NODE_ID: optional(
    z.string().regex(/^[\w.-]{1,64}$/, 'expected 1 to 64 letters, digits, . _ -'),
    'name in the log; random',
  ),
});

type Variables = z.output<typeof variables>;

/** Where tokens get their trust from. `development-secret`: none was configured, one is made in DATA_DIR. */
export type TokenKey =
  | ({ readonly kind: 'secret' | 'public-key' } & VerificationKey)
  | { readonly kind: 'key-set'; readonly url: string }
  | { readonly kind: 'development-secret' };

/** Which engine keeps the store, and where. The address may hold a password. */
export type StoreLocation =
  | { readonly kind: 'lmdb'; readonly directory: string }
  | { readonly kind: 'mongodb'; readonly url: string };

export type Config = Readonly<
  Omit<Variables, 'STORE_URL' | 'JWT_SECRET' | 'JWT_PUBLIC_KEY' | 'JWT_JWKS_URL' | 'REDIS_URL' | 'CORS_ORIGIN'>
> & {
  readonly tokenKey: TokenKey;
  readonly store: StoreLocation;
  /** Where nodes meet; absent for one node alone. May hold a password. */
  readonly redisUrl: string | undefined;
  /** `'*'`, or the origins that may call, see origins.ts; empty: none but the service's own. */
  readonly corsOrigins: '*' | readonly string[];
  readonly isProduction: boolean;
  /** Under these names libraries print requests, with tokens: DEBUG asks for it. None in production. */
  readonly debugNames: readonly string[];
  /** May users write to each other, create topics, see who is online? */
  readonly DIRECT_MESSAGES: boolean;
  readonly TOPIC_CREATION: boolean;
  readonly PRESENCE_PUBLIC: boolean;
};

/** Every fault of the environment at once, a line each: `VARIABLE: what is expected`. Values are never shown. */
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
    problems.push('AUTHORIZATION: open is refused in production, expected scopes');
  }
  const debugNames = findPrinting(given['DEBUG']);
  if (given['NODE_ENV'] === 'production' && debugNames.length > 0) {
    problems.push('DEBUG: expected no names of libraries in production, since they print requests with their tokens');
  }
  if (parsed === undefined || tokenKey === undefined || problems.length > 0) throw new ConfigError(problems);
  const { STORE_URL, JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL, REDIS_URL, CORS_ORIGIN, ...rest } = parsed;
  const isProduction = rest.NODE_ENV === 'production';
  const store = locateStore(STORE_URL, rest.DATA_DIR);
  const open = closedInProduction(parsed, isProduction);
  const made = { tokenKey, store, redisUrl: REDIS_URL, corsOrigins, isProduction, debugNames };
  return Object.freeze({ ...rest, ...open, ...made });
}

/** What users may do to each other: everything in development, nothing in production, unless it is set. */
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
  const result = variables.safeParse(environment);
  if (result.success) return result.data;
  for (const issue of result.error.issues) problems.push(`${issue.path.join('.')}: ${issue.message}`);
  return undefined;
}

const KEY_VARIABLES = ['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWT_JWKS_URL'] as const;

function chooseTokenKey(environment: Environment, problems: string[]): TokenKey | undefined {
  const { JWT_SECRET: secret, JWT_PUBLIC_KEY: pem, JWT_JWKS_URL: url, NODE_ENV } = environment;
  const isProduction = NODE_ENV === 'production';
  const given = KEY_VARIABLES.filter((name) => environment[name] !== undefined);
  if (given.length > 1) {
    problems.push(`${given.join(', ')}: expected one of them, not several: tokens are trusted for one reason`);
    return undefined;
  }
  if (secret !== undefined) return secretKey(secret, isProduction, problems);
  if (pem !== undefined) return publicKey(pem, problems);
  if (url !== undefined) return { kind: 'key-set', url };
  if (!isProduction) return { kind: 'development-secret' };
  problems.push('JWT_SECRET: expected a secret of at least 32 bytes (or JWT_PUBLIC_KEY, JWT_JWKS_URL) in production');
  return undefined;
}

function secretKey(secret: string, isProduction: boolean, problems: string[]): TokenKey | undefined {
  if (secret.includes('-----BEGIN')) {
    problems.push('JWT_SECRET: this is a PEM, expected a secret (a public key belongs in JWT_PUBLIC_KEY)');
    return undefined;
  }
  if (isProduction && Buffer.byteLength(secret) < MIN_SECRET_BYTES) {
    problems.push(`JWT_SECRET: expected at least ${MIN_SECRET_BYTES} bytes in production`);
    return undefined;
  }
  return { kind: 'secret', key: createSecretKey(Buffer.from(secret, 'utf8')), algorithm: 'HS256' };
}

function publicKey(text: string, problems: string[]): TokenKey | undefined {
  const form = 'expected the PEM of an RSA (2048 bits or more) or P-256 public key';
  const pem = text.replaceAll('\\n', '\n');
  if (!pem.includes('-----BEGIN PUBLIC KEY-----') && !pem.includes('-----BEGIN RSA PUBLIC KEY-----')) {
    problems.push(`JWT_PUBLIC_KEY: ${form}`);
    return undefined;
  }
  try {
    const key = createPublicKey(pem);
    const algorithm = algorithmOf(key);
    if (algorithm !== undefined) return { kind: 'public-key', key, algorithm };
    problems.push(`JWT_PUBLIC_KEY: ${form}`);
  } catch {
    // The parser's message can quote the key: the sentence names the variable only.
    problems.push(`JWT_PUBLIC_KEY: cannot be read, ${form}`);
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
      'CORS_ORIGIN: expected * or origins as browsers send them, comma separated: https://app.example.com or ' +
        'https://*.example.com, in lower case, without a path; capacitor://localhost',
    );
  }
  return origins;
}

/** Nodes that tell each other of messages, each with a store of its own, would be a service that forgets. */
function refuseLonelyStores(environment: Environment, problems: string[]): void {
  const { REDIS_URL, STORE_URL = 'lmdb:' } = environment;
  if (REDIS_URL !== undefined && STORE_URL.startsWith('lmdb:')) {
    problems.push('REDIS_URL: several nodes need one store, expected STORE_URL=mongodb://HOST/DATABASE beside it');
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
    '# A # begins a comment, also within a value: put a value that has one in quotes, as in JWT_SECRET="se#cret".',
    '# Save the file as UTF-8 without a byte order mark.',
  ];
  return `${head.join('\n')}\n\n${blocks.join('\n')}`;
}
