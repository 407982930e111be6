/** The inputs: values that match a schema, then changed or damaged. */
import fc from 'fast-check';
import { MARKER } from '../support/shared-service';

/** Users of the fuzzed part; the watchers have other names. Many, so that no inbox grows long. */
export const USERS = Array.from({ length: 24 }, (_value, index) => `fuzz-${index}`);
/** Users whose data, tokens and connections may be removed. */
export const SPARE_USERS = ['spare-0', 'spare-1', 'spare-2'];
/** Named topics; those of the second list may be deleted. */
export const TOPICS = ['news', 'club', 'room.1', 'a:b'];
export const SPARE_TOPICS = ['spare', 'spare.1'];

/** UTF-16 units: controls and lone surrogates are among them. */
const units = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 0x7f }), fc.integer({ min: 0, max: 0xffff })), { maxLength: 12 })
  .map((codes) => String.fromCharCode(...codes));

function nested(depth: number): unknown {
  return depth === 0 ? 0 : [nested(depth - 1)];
}

const json = fc.jsonValue({ maxDepth: 2 });

/** What an attacker or a broken program writes where something else is expected. */
export const hostile: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<unknown>(
      ...[null, true, false, '', 0, -1, 0.5, 1e308, 2 ** 53, '0', '1', 'true', '*', '@', '@fuzz-0', '~fuzz-0', '..'],
      ...['__proto__', 'constructor', 'toString', '\u0000', '\ud800', 'a\nb', 'a'.repeat(129), '💥'.repeat(65)],
      ...['2001-01-01T00:00:00Z', '+275761-01-01T00:00:00Z', 'a'.repeat(10_000), [], {}, { $ne: null }],
      ...[{ $where: '1' }, Object.fromEntries([['__proto__', { to: 'fuzz-0', all: true }]]), nested(70)],
    ),
  },
  { weight: 1, arbitrary: units },
  { weight: 1, arbitrary: json },
);

/** The content of a message: the log is searched for the marker. */
const content = fc.oneof(
  { weight: 3, arbitrary: fc.nat().map((n) => `${MARKER} ${n}`) },
  { weight: 2, arbitrary: json.map((value) => ({ [MARKER]: value })) },
  { weight: 1, arbitrary: fc.tuple(units, fc.nat()).map(([text, n]) => [MARKER, text, n]) },
);

const DAY_MS = 86_400_000;
const times = fc.integer({ min: 1, max: 300 }).map((days) => new Date(Date.now() + days * DAY_MS).toISOString());
const users = fc.constantFrom(...USERS);
const topics = fc.oneof(fc.constantFrom(...TOPICS, '*'), users.map(personal), users.map(personal));

function personal(userId: string): string {
  return `@${userId}`;
}

/** Fields whose value has to mean something, otherwise everything would be refused as unknown. */
const MEANINGFUL: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  userId: users,
  exceptUserId: users,
  to: users,
  username: users,
  actor: users,
  from: users,
  name: fc.constantFrom(...TOPICS),
  topic: topics,
  topic_name: fc.oneof(fc.constantFrom(...TOPICS), users, users.map(personal)),
  data: content,
  content,
  message: content,
  id: fc.nat().map((n) => `id-${n}`),
  ids: fc.array(
    fc.nat({ max: 20 }).map((n) => `id-${n}`),
    { minLength: 1, maxLength: 3 },
  ),
  cursor: fc.constantFrom('WyJpbmJveCJd', 'abc', '-_-'),
  jti: fc.nat().map((n) => `token-${n}`),
  ref: fc.nat(),
};

export type JsonSchema = boolean | Readonly<Record<string, unknown>>;
export type Resolve = (reference: string) => JsonSchema;

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly oneOf?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
}

/** Values of a schema, most of them valid: rules between fields are left to chance, and to the judge. */
export function valuesOf(schema: JsonSchema, resolve: Resolve, name = ''): fc.Arbitrary<unknown> {
  if (typeof schema === 'boolean') return json;
  if (typeof schema['$ref'] === 'string') return valuesOf(resolve(schema['$ref']), resolve, name);
  if ('const' in schema) return fc.constant(schema['const']);
  if (Array.isArray(schema['enum'])) return fc.constantFrom(...(schema['enum'] as unknown[]));
  const meaningful = MEANINGFUL[name];
  if (meaningful !== undefined && isScalar(schema, name)) return meaningful;
  if (schema['properties'] !== undefined) return objects(schema as ObjectSchema, resolve);
  const branches = (schema['anyOf'] ?? schema['oneOf']) as readonly JsonSchema[] | undefined;
  if (branches !== undefined) return fc.oneof(...branches.map((branch) => valuesOf(branch, resolve, name)));
  return ofType(schema, resolve, name);
}

function isScalar({ type, items }: Readonly<Record<string, unknown>>, name: string): boolean {
  return (type !== 'object' && items === undefined) || name === 'ids';
}

function ofType(schema: Readonly<Record<string, unknown>>, resolve: Resolve, name: string): fc.Arbitrary<unknown> {
  const { type, minimum, maximum, format } = schema as {
    type?: string;
    minimum?: number;
    maximum?: number;
    format?: string;
  };
  if (format === 'date-time') return times;
  if (type === 'string')
    return fc.oneof(fc.constantFrom('a', 'kind', 'é', '名前'), fc.stringMatching(/^[a-z][a-z0-9.]{0,15}$/));
  if (type === 'boolean') return fc.boolean();
  if (type === 'null') return fc.constant(null);
  if (type === 'integer' || type === 'number') {
    const least = minimum ?? 0;
    const most = Math.min(maximum ?? 1_000, Number.MAX_SAFE_INTEGER);
    return fc.oneof(fc.integer({ min: least, max: Math.min(most, least + 5) }), fc.integer({ min: least, max: most }));
  }
  if (type === 'array') {
    const singular = name.replace(/s$/, '');
    return fc.array(valuesOf(schema['items'] as JsonSchema, resolve, singular), { minLength: 1, maxLength: 3 });
  }
  return type === 'object' ? fc.dictionary(fc.constantFrom('a', 'b', MARKER), json, { maxKeys: 3 }) : json;
}

/** An object with its required fields and a few others. */
function objects(schema: ObjectSchema, resolve: Resolve): fc.Arbitrary<unknown> {
  const { properties = {}, required = [] } = schema;
  const choices = (schema.oneOf ?? schema.anyOf)?.map((branch) => (branch as ObjectSchema).required ?? []) ?? [[]];
  const chosen = new Set(choices.flat());
  const optional = Object.keys(properties).filter((name) => !required.includes(name) && !chosen.has(name));
  const fields = Object.entries(properties).map(([name, field]) => [name, valuesOf(field, resolve, name)] as const);
  return fc
    .tuple(
      fc.record(Object.fromEntries(fields)),
      fc.subarray(optional, { maxLength: Math.min(2, optional.length) }),
      fc.constantFrom(...choices),
    )
    .map(([all, some, choice]) => pick(all, [...required, ...choice, ...some]));
}

function pick(all: object, names: readonly string[]): object {
  return Object.fromEntries(Object.entries(all).filter(([name]) => names.includes(name)));
}

interface Change {
  readonly what: 'drop' | 'replace' | 'add' | 'list';
  readonly at: number;
  readonly value: unknown;
}

const FIELDS = [...Object.keys(MEANINGFUL), 'seq', 'state', 'all', 'upTo', 'ttl', 'delay', 'persist', 'event', 'token'];

const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.record({ what: fc.constantFrom('replace', 'replace', 'drop', 'add', 'list'), at: fc.nat(99), value: hostile }),
  { minLength: 1, maxLength: 2 },
);

function changed(value: unknown, { what, at, value: replacement }: Change): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return replacement;
  const entries = Object.entries(value);
  const index = entries.length === 0 ? 0 : at % entries.length;
  const [name = FIELDS[at % FIELDS.length] ?? '', old] = entries[index] ?? [];
  if (what === 'drop') return Object.fromEntries(entries.filter((_entry, place) => place !== index));
  if (what === 'add') return Object.fromEntries([...entries, [FIELDS[at % FIELDS.length] ?? '', replacement]]);
  const next = what === 'list' ? [old] : replacement;
  return Object.fromEntries([...entries.filter((_entry, place) => place !== index), [name, next]]);
}

/** The same value with a field missing, added or of another kind. */
export function mutated(values: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.tuple(values, changes).map(([value, list]) => list.reduce(changed, value));
}

/** What a text is cut with: what JSON, headers and paths are made of. */
const fragment = fc.oneof(
  fc.constantFrom(
    '',
    '{',
    '}',
    '[',
    ']',
    '"',
    ',',
    ':',
    '\\',
    '\\u0000',
    '\\ud800',
    '\u0000',
    '\ufeff',
    '1e400',
    'NaN',
  ),
  fc.constantFrom('null', '{"__proto__":', '-', '%', '%00', '/', '?', '&', '=', '..', '\r\n', '💥', '1', '451-'),
  units,
);

/** The same text with a few characters replaced: cut, added to, or changed. */
export function damaged(texts: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const edit = fc.record({ at: fc.nat(1_000), length: fc.oneof(fc.nat(3), fc.nat(200)), text: fragment });
  return fc.tuple(texts, fc.array(edit, { minLength: 1, maxLength: 2 })).map(([text, edits]) =>
    edits.reduce((before, { at, length, text: put }) => {
      const from = Math.floor((at / 1_000) * before.length);
      return before.slice(0, from) + put + before.slice(from + length);
    }, text),
  );
}

export const anyText = fc.oneof(units, fragment, fc.string({ unit: 'binary', maxLength: 30 }));
export const anyBytes = fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes));
