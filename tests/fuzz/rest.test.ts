/** Random requests to every route of /openapi.json. */
import { METHODS } from 'node:http';
import fc from 'fast-check';
import { type Answer, type Exchange, exchange, exchangeBytes } from '../support/http';
import { type DocumentedParameter, OpenApi, type Route } from '../support/openapi';
import {
  anyText,
  damaged,
  hostile,
  type JsonSchema,
  mutated,
  SPARE_TOPICS,
  SPARE_USERS,
  TOPICS,
  USERS,
  valuesOf,
} from './inputs';
import { isLasting, readProblem, shareTarget } from './target';

const target = shareTarget();
const JSON_TYPE = 'application/json';
/** Requests in flight at the same time. */
const BURST = 80;
const PATIENCE_MS = 30_000;

type What = 'nothing' | 'body' | 'text' | 'query' | 'path' | 'headers' | 'method';

interface Request {
  /** What is wrong with it, perhaps. */
  readonly what: What;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Routes that remove something: only what nobody else uses. */
const TAKES_AWAY = /revoke|disconnect|data$|DELETE \/topics\/\{name\}$/;

function pathsOf({ method, path }: Route): fc.Arbitrary<string> {
  const isTaking = TAKES_AWAY.test(`${method} ${path}`);
  const parts: Readonly<Record<string, fc.Arbitrary<string>>> = {
    userId: fc.constantFrom(...(isTaking ? SPARE_USERS : USERS)),
    name: fc.constantFrom(...(isTaking ? SPARE_TOPICS : [...TOPICS, ...SPARE_TOPICS])),
    id: fc.nat({ max: 60 }).map((n) => `id-${n}`),
  };
  const names = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name = '']) => name);
  return fc
    .tuple(...names.map((name) => parts[name] ?? fc.constant('x')))
    .map((values) => names.reduce((text, name, index) => text.replace(`{${name}}`, values[index] ?? ''), path));
}

function isTaking({ method, path }: Route): boolean {
  return TAKES_AWAY.test(`${method} ${path}`);
}

/** What the client's parser allows: any octet except blanks and controls. */
function toPath(text: string): string {
  return `/${text.replaceAll(/[^!-~]/g, (sign) => encodeURIComponent(sign.isWellFormed() ? sign : '?'))}`.replace(
    /^\/+/,
    '/',
  );
}

function toHeader(text: string): string {
  return Buffer.from(text)
    .toString('latin1')
    .replaceAll(/[^\t -~\u0080-\u00ff]/g, '');
}

const queryText = hostile.map((value) => encodeURIComponent(String(JSON.stringify(value) ?? '').replaceAll('"', '')));

/** Parameters of the query, each of them hostile or as documented. */
function queriesOf(
  parameters: readonly DocumentedParameter[],
  openapi: OpenApi,
  isHostile: boolean,
): fc.Arbitrary<string> {
  const names = parameters.filter((parameter) => parameter.in === 'query');
  if (names.length === 0) return fc.constant('');
  const values = names.map(({ name, schema }) => {
    const valid = valuesOf(schema as JsonSchema, (reference) => openapi.resolve(reference) as JsonSchema, name);
    const text = isHostile ? queryText : valid.map((value) => encodeURIComponent(String(value)));
    return text.map((value) => `${name}=${value}`);
  });
  return fc
    .subarray(values, { maxLength: Math.min(2, values.length) })
    .chain((some) => (some.length === 0 ? fc.constant('') : fc.tuple(...some).map((pairs) => `?${pairs.join('&')}`)));
}

const ODD_HEADERS: fc.Arbitrary<Readonly<Record<string, string>>> = fc.oneof(
  fc
    .oneof(fc.constantFrom('', 'Basic YTpi', 'Bearer', 'Bearer a.b.c', 'Bearer x, Bearer y'), anyText.map(toHeader))
    .map((Authorization) => ({ Authorization })),
  fc
    .oneof(
      fc.constantFrom(
        'text/plain',
        'application/json; charset=utf-16',
        'application/json;charset=latin1',
        'multipart/form-data',
      ),
      anyText.map(toHeader),
    )
    .map((type) => ({ 'Content-Type': type })),
  fc.constantFrom('gzip', 'br', 'deflate', 'identity', 'x').map((encoding) => ({ 'Content-Encoding': encoding })),
  fc
    .oneof(
      fc.nat({ max: 30 }).map((n) => `key-${n}`),
      fc.constantFrom('', 'k'.repeat(256)),
      anyText.map(toHeader),
    )
    .map((key) => ({ 'Idempotency-Key': key })),
  fc.constantFrom<Record<string, string>>(
    { Accept: 'text/html' },
    { 'Transfer-Encoding': 'chunked' },
    { Origin: 'https://evil.example' },
    { Range: 'bytes=0-1' },
    { 'If-None-Match': '*' },
    { 'X-HTTP-Method-Override': 'DELETE' },
    { Expect: '100-continue' },
    { Expect: 'nonsense' },
    { Host: '' },
    { traceparent: '00-zz-zz-zz' },
    { Cookie: '__proto__=1' },
  ),
  anyText.map((text) => ({ 'X-Request-Id': toHeader(text) })),
);

const ODD_METHODS = METHODS.filter((method) => !['CONNECT', 'M-SEARCH'].includes(method));

function requestsOf(route: Route, openapi: OpenApi): fc.Arbitrary<Request> {
  const { method, operation } = route;
  const schema = operation.requestBody?.content[JSON_TYPE]?.schema;
  const resolve = (reference: string) => openapi.resolve(reference) as JsonSchema;
  const bodies = schema === undefined ? undefined : valuesOf(schema as JsonSchema, resolve);
  const texts = bodies?.map((body) => JSON.stringify(body));
  const parameters = operation.parameters ?? [];
  const paths = pathsOf(route);
  const make = (
    what: What,
    changes: Partial<Record<'path' | 'query' | 'headers' | 'body' | 'method', fc.Arbitrary<unknown>>>,
  ) =>
    fc
      .record({
        method: fc.constant<unknown>(method),
        path: paths as fc.Arbitrary<unknown>,
        query: queriesOf(parameters, openapi, false) as fc.Arbitrary<unknown>,
        headers: fc.constant<unknown>({}),
        body: (texts ?? fc.constant(undefined)) as fc.Arbitrary<unknown>,
        ...changes,
      })
      .map(
        ({ path, query, body, ...rest }): Request => ({
          what,
          method: String(rest.method),
          path: `${path}${query}`,
          headers: rest.headers as Request['headers'],
          ...(typeof body === 'string' ? { body } : {}),
        }),
      );
  const others = [
    { weight: 1, arbitrary: make('query', { query: queriesOf(parameters, openapi, true) }) },
    { weight: 1, arbitrary: make('headers', { headers: ODD_HEADERS }) },
    ...(isTaking(route) ? [] : [{ weight: 1, arbitrary: make('path', { path: damaged(paths).map(toPath) }) }]),
    ...(isTaking(route) ? [] : [{ weight: 1, arbitrary: make('method', { method: fc.constantFrom(...ODD_METHODS) }) }]),
  ];
  if (bodies === undefined || texts === undefined) {
    return fc.oneof({ weight: 4, arbitrary: make('nothing', {}) }, ...others);
  }
  return fc.oneof(
    { weight: 8, arbitrary: make('nothing', {}) },
    { weight: 6, arbitrary: make('body', { body: mutated(bodies).map((body) => JSON.stringify(body)) }) },
    { weight: 3, arbitrary: make('text', { body: damaged(texts) }) },
    {
      weight: 1,
      arbitrary: make('text', {
        body: fc.oneof(
          anyText,
          hostile.map((value) => JSON.stringify(value)),
        ),
      }),
    },
    ...others,
  );
}

function requestInputs(openapi: OpenApi): fc.Arbitrary<Request> {
  // Probes write to the store and metrics are long: a few of each are enough.
  const isRare = ({ operation }: Route) => operation.tags.includes('Service');
  return fc.oneof(
    ...openapi.routes.map((route) => ({
      weight: isRare(route) ? 1 : route.operation.requestBody === undefined ? 5 : 15,
      arbitrary: requestsOf(route, openapi),
    })),
  );
}

/** Fields whose limits depend on the time or on what is stored: no schema can express them. */
const BEYOND_SCHEMAS = [
  'sendAt',
  'expiresAt',
  'since',
  'issuedBefore',
  'cursor',
  'upTo',
  'delay',
  'ttl',
  'data',
  'message',
];

/** Schemas count characters, the service counts UTF-16 units: half of such a character is none. */
const SURROGATES = /\\ud[89a-f]|[\ud800-\udfff]/;

function judge(openapi: OpenApi, request: Request, answer: Answer): void {
  const said = `${JSON.stringify(request)} was answered ${answer.status} ${answer.text.slice(0, 1_000)}`;
  try {
    // A slash at the end changes nothing, nor does what follows a #: it is not for a server.
    const path = request.path.replace(/#.*/s, '').replace(/(?<=.)\/(?=$|\?)/, '');
    const asked = { ...request, path };
    const route = openapi.routeOf(asked);
    if (request.method === 'HEAD' || answer.status === 204) return;
    if (route === undefined) {
      // Pages are not in the document.
      if (answer.status !== 200 || !answer.headers['content-type']?.startsWith('text/html')) readRefusal(answer);
      return;
    }
    const faults = openapi.faultsOf({
      ...asked,
      ...answer,
      headers: new Headers(answer.headers as Record<string, string>),
    });
    // A path that cannot be decoded is refused on any route.
    if (faults.length > 0) throw new Error(faults.join('\n'));
    if (answer.status >= 400) readRefusal(answer);
    if (request.what === 'nothing' || request.what === 'body') judgeBody(openapi, route, request, answer);
  } catch (error) {
    throw new Error(`${said}\n${(error as Error).message}`);
  }
}

function readRefusal({ status, headers, text }: Answer): void {
  if (!headers['content-type']?.startsWith('application/problem+json')) throw new Error('this is no problem');
  const problem = readProblem(JSON.parse(text));
  if (problem.status !== status) throw new Error('the problem has another status');
  if (problem.requestId !== headers['x-request-id']) throw new Error('the problem names another request');
}

/** What the document allows is accepted, and what it does not allow is refused. */
function judgeBody(openapi: OpenApi, { operation }: Route, { body }: Request, { status, text }: Answer): void {
  const schema = operation.requestBody?.content[JSON_TYPE]?.schema;
  if ((schema === undefined) !== (body === undefined)) return;
  const isBad = schema !== undefined && body !== undefined && openapi.faults(schema, JSON.parse(body)).length > 0;
  // Items of a batch fail alone.
  if (isBad && status < 400 && operation.operationId !== 'sendBatch') throw new Error('bad input was accepted');
  if (isBad || status !== 400 || SURROGATES.test(body ?? '')) return;
  const { errors = [] } = readProblem(JSON.parse(text));
  if (errors.some(({ path }) => !BEYOND_SCHEMAS.includes(path))) throw new Error('good input was refused');
}

interface Item {
  readonly id?: string;
  readonly userId?: string;
  readonly topic?: string;
}

/** Remembers what was stored according to the answer. */
function note({ method, path, body }: Request, { status, text }: Answer): void {
  if (status >= 300) {
    target.count(readCode(text));
    return;
  }
  target.count('ok');
  if (method === 'DELETE' && path.startsWith('/messages/')) target.forget(JSON.parse(text).id);
  const [, deleted] = /^\/topics\/([^/?]+)\/?(?:\?|$)/.exec(path) ?? [];
  if (method === 'DELETE' && deleted !== undefined) target.forgetTopic(decodeURIComponent(deleted));
  if (method !== 'POST' || body === undefined) return;
  // Half a character becomes another one in transit. A byte order mark is accepted, and if a body is optional, so is
  // its absence.
  const asked = JSON.parse(body.toWellFormed().replace(/^\ufeff/, '') || '{}') as Record<string, unknown> & {
    messages?: object[];
  };
  if (path.startsWith('/api/gateway')) target.acceptPerhaps(asked['message']);
  const answer = JSON.parse(text) as Item & { results?: Item[] };
  if (typeof answer.topic === 'string') target.accept({ ...answer }, isLasting(asked));
  for (const [index, result] of (answer.results ?? []).entries()) {
    const { topic = result.userId === undefined ? undefined : `@${result.userId}` } = result;
    target.accept({ ...result, topic }, isLasting(Object(asked.messages?.[index] ?? asked)));
  }
}

function readCode(text: string): Parameters<typeof target.count>[0] {
  return text === '' ? 'not_found' : readProblem(JSON.parse(text)).code;
}

async function runBurst(openapi: OpenApi, requests: readonly Request[]): Promise<void> {
  await Promise.all(
    requests.map(async (request) => {
      const answer = await inTime(exchange(target.url, withToken(request)), request);
      judge(openapi, request, answer);
      note(request, answer);
    }),
  );
}

/** The defaults of a request. */
function withToken({ method, path, headers, body }: Request): Exchange {
  const usual = {
    Authorization: `Bearer ${target.master}`,
    ...(body === undefined ? {} : { 'Content-Type': JSON_TYPE }),
  };
  return { method, path, headers: { ...usual, ...headers }, ...(body === undefined ? {} : { body }) };
}

async function inTime<Result>(work: Promise<Result>, request: unknown): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('too late')), PATIENCE_MS);
  });
  try {
    return await Promise.race([work, tooLate]);
  } catch (error) {
    throw new Error(`no answer to ${JSON.stringify(request)}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Requests byte by byte, as a client without a library would write them. */
function byteInputs(): fc.Arbitrary<string> {
  const body = JSON.stringify({ userId: 'fuzz-0', type: 't', data: 1 });
  const request = (head: string, length: number | string) =>
    [
      head,
      'Host: x',
      `Authorization: Bearer ${target.token('fuzz-0')}`,
      `Content-Type: ${JSON_TYPE}`,
      `Content-Length: ${length}`,
      '',
      body,
    ].join('\r\n');
  const whole = fc
    .tuple(
      fc.constantFrom('POST /websocket/message/user HTTP/1.1', 'PATCH /inbox HTTP/1.1'),
      fc.constantFrom(body.length, 0, 999, -1, 'x'),
    )
    .map(([head, length]) => request(head, length));
  return fc.oneof(damaged(whole), anyText);
}

async function runBytes(text: string): Promise<void> {
  const { status, headers, text: body } = await exchangeBytes(target.url, text, { isEnding: true });
  if (status >= 500) throw new Error(`answered ${status}: ${body}`);
  // What follows its body may be another request, with its own answer.
  const first = Buffer.from(body).subarray(0, Number(headers['content-length']));
  if (headers['content-type']?.startsWith('application/problem+json')) readProblem(JSON.parse(first.toString()));
  target.count('cut');
}

it('answers 11,000 random requests, and nobody else is harmed', async () => {
  await target.open();
  const openapi = await OpenApi.of(target.url);
  const bursts = fc.array(requestInputs(openapi), { minLength: 1, maxLength: BURST, size: 'max' });
  await target.fuzz('bytes', byteInputs(), { runs: 300, run: runBytes });
  target.warmedUp();
  await target.fuzz('requests', bursts, { runs: 330, run: (requests) => runBurst(openapi, requests) });
  await target.expectUnharmed(11_000);
});
