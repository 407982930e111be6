/** The OpenAPI document: valid, complete, and what the service really does. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Answered, OpenApi } from './support/openapi';
import { startService, type TestService, testToken } from './support/service';
import { temporaryDirectory } from './support/temporary';

const ALL_SCOPES = 'send broadcast presence admin';
const SERVICE = testToken('service', { scope: ALL_SCOPES });
const MAX_BODY_BYTES = 400_000;
const ENV = { MAX_BODY_BYTES: String(MAX_BODY_BYTES), MAX_MESSAGE_BYTES: '1024' };

interface Asked {
  readonly token?: string | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends a request, `POST /path`, as a service that may do everything unless another token is given. */
async function ask(url: string, route: string, asked: Asked = {}): Promise<Answered> {
  const [method = '', path = ''] = route.split(' ');
  const { token = SERVICE, body, headers = {} } = asked;
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(token === '' ? {} : { Authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { method, path, status: response.status, headers: response.headers, text: await response.text() };
}

/** A path with the examples of the document in place of its parameters. */
function filledPath(path: string): string {
  return path.replace('{userId}', 'user123').replace('{name}', 'news').replace('{id}', 'order-1');
}

describe('the OpenAPI document', () => {
  it('is valid by its own validator', async () => {
    const service = await startService();
    const file = join(temporaryDirectory(), 'openapi.json');
    writeFileSync(file, await (await fetch(`${service.url}/openapi.json`)).text());
    const validator = dirname(require.resolve('@seriousme/openapi-schema-validator'));
    const command = [join(validator, 'bin/validate-api-cli.js'), file];
    const { stdout } = await promisify(execFile)(process.execPath, command);
    expect(JSON.parse(stdout)).toEqual({ valid: true });
  });

  it('names the address at which it was requested', async () => {
    const { url } = await startService();
    const { document } = await OpenApi.of(url);
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(document.servers).toEqual([{ url }]);
  });

  it('has an operationId of its own and a known tag for each route', async () => {
    const { document, routes } = await OpenApi.of((await startService()).url);
    const ids = routes.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const known = document.tags.map(({ name }) => name);
    for (const { operation } of routes) expect(known).toEqual(expect.arrayContaining([...operation.tags]));
  });

  it('has examples that are valid by their schemas', async () => {
    const openapi = await OpenApi.of((await startService()).url);
    const faults: string[] = [];
    let count = 0;
    const look = (schema: Parameters<OpenApi['faults']>[0], value: unknown) => {
      count += 1;
      faults.push(...openapi.faults(schema, value).map((fault) => `${JSON.stringify(value)}: ${fault}`));
    };
    for (const { operation } of openapi.routes) {
      for (const { schema, example } of operation.parameters ?? []) if (example !== undefined) look(schema, example);
      for (const { schema, example } of Object.values(operation.requestBody?.content ?? {})) look(schema, example);
      for (const status of Object.keys(operation.responses)) {
        for (const { schema, examples = {} } of Object.values(openapi.answerOf(operation, status)?.content ?? {})) {
          for (const { value } of Object.values(examples)) look(schema, value);
        }
      }
    }
    for (const schema of Object.values(openapi.document.components['schemas'] ?? {})) {
      const { examples = [] } = schema as { examples?: unknown[] };
      for (const example of examples) look(schema, example);
    }
    expect(faults).toEqual([]);
    expect(count).toBeGreaterThan(300);
  });
});

/** One service for the requests below; everything that it answers is compared with its document. */
class Checked {
  /** `operationId status` of all answers. */
  readonly seen = new Set<string>();

  private constructor(
    readonly service: TestService,
    readonly openapi: OpenApi,
  ) {}

  static async start(env: Record<string, string> = ENV): Promise<Checked> {
    const service = await startService({ env });
    return new Checked(service, await OpenApi.of(service.url));
  }

  /** Sends a request and wants an answer of this status that is as documented. */
  async ask(route: string, status: number, asked: Asked = {}): Promise<Record<string, unknown>> {
    const answered = await ask(this.service.url, route, asked);
    expect({ route, status: answered.status }).toEqual({ route, status });
    return this.check(route, answered);
  }

  check(route: string, answered: Answered): Record<string, unknown> {
    expect({ route, status: answered.status, faults: this.openapi.faultsOf(answered) }).toEqual({
      route,
      status: answered.status,
      faults: [],
    });
    const { operationId = '' } = this.openapi.routeOf(answered)?.operation ?? {};
    this.seen.add(`${operationId} ${answered.status}`);
    const isJson = /^application\/(problem\+)?json\b/.test(answered.headers.get('content-type') ?? '');
    return isJson ? (JSON.parse(answered.text) as Record<string, unknown>) : {};
  }

  /** Requests whose only fault is one that a guard looks for, for each route that has this guard. */
  async askEach(code: string, asked: () => Asked, except: readonly string[] = []): Promise<void> {
    const having = this.openapi.routes.filter(({ operation }) => this.openapi.codesOf(operation).includes(code));
    const guarded = having.filter(({ operation }) => !except.includes(operation.operationId));
    expect(guarded.length).toBeGreaterThan(10);
    for (const { method, path } of guarded) {
      const route = `${method} ${filledPath(path)}`;
      const answered = await ask(this.service.url, route, asked());
      expect({ route, code: this.check(route, answered)['code'] }).toEqual({ route, code });
    }
  }
}

describe('the answers of the service', () => {
  const USER = testToken('user123');
  const send = { userId: 'user123', type: 'chat', data: { message: 'Hello!' } };

  it('are as documented, for each success of each route', async () => {
    const checked = await Checked.start();
    const { service } = checked;
    const phone = await service.connect('user123', { device: 'phone' });
    await phone.next('sync:done');
    const later = { delay: 3_600 };

    await checked.ask('POST /websocket/message/user', 200, { body: { ...send, id: 'order-1' } });
    const { seq } = await phone.next('message');
    await phone.call('ack', { topic: '@user123', seq });
    await checked.ask('POST /websocket/message/user', 200, { body: { ...send, id: 'order-1' } });
    await checked.ask('POST /websocket/message/user', 200, { body: { ...send, persist: false } });
    await checked.ask('POST /websocket/message/user', 200, { body: { ...send, event: 'offer' } });
    await checked.ask('POST /websocket/message/user', 202, { body: { ...send, ...later, id: 'standup', ttl: 60 } });
    const many = { userIds: ['user123', 'user456'], type: 'chat', data: null };
    await checked.ask('POST /websocket/message/users', 200, { body: many });
    await checked.ask('POST /websocket/message/users', 200, { body: { ...many, persist: false } });
    await checked.ask('POST /websocket/message/users', 202, { body: { ...many, ...later } });
    const everyone = { type: 'system', data: 'Welcome!' };
    await checked.ask('POST /websocket/message/broadcast', 200, { body: everyone });
    await checked.ask('POST /websocket/message/broadcast', 202, { body: { ...everyone, ...later } });
    const notification = { userId: 'user123', title: 'New', body: '', data: { a: 1 } };
    await checked.ask('POST /websocket/notification', 200, { body: notification });
    await checked.ask('POST /websocket/notification', 202, { body: { ...notification, ...later } });
    const items = [send, { ...send, persist: false }, { ...send, ...later }, { broadcast: true }, { topic: 'x' }];
    await checked.ask('POST /messages/batch', 200, { body: { messages: items } });

    await checked.ask('GET /inbox?limit=2', 200, { token: USER });
    await checked.ask('GET /inbox?state=unread', 200, { token: USER });
    await checked.ask('GET /inbox/counts', 200, { token: USER });
    await checked.ask('PATCH /inbox', 200, { token: USER, body: { state: 'seen', topic: '@user123', upTo: 1 } });
    await checked.ask('PATCH /inbox/order-1', 200, { token: USER, body: { state: 'read' } });

    await checked.ask('PATCH /messages/order-1', 200, { body: { data: 'changed' } });
    await checked.ask('GET /messages/order-1/receipts', 200);
    await checked.ask('DELETE /messages/order-1', 200);
    await checked.ask('GET /scheduled?limit=1', 200);
    await checked.ask('GET /scheduled', 200);
    await checked.ask('DELETE /scheduled/standup', 200);

    await checked.ask('GET /websocket/users/connected', 200);
    await checked.ask('GET /websocket/users/user123/status', 200);
    await checked.ask('GET /websocket/users/nobody/status', 200);
    await checked.ask('GET /websocket/me/status', 200, { token: USER });

    await checked.ask('POST /topics', 201, { body: { name: 'news' } });
    await checked.ask('GET /topics', 200, { token: USER });
    await checked.ask('GET /topics/news', 200, { token: USER });
    await checked.ask('POST /topics/news/members', 200, { token: USER });
    await checked.ask('POST /topics/news/members', 200, { body: { userId: 'user456' } });
    await checked.ask('GET /topics/news/members', 200);
    await checked.ask('POST /topics/news/messages', 200, {
      token: testToken('user123', { scope: 'send' }),
      body: { type: 'chat', data: 1, event: 'said' },
    });
    await checked.ask('POST /topics/news/messages', 202, { body: { type: 'chat', data: 1, ...later } });
    await checked.ask('GET /topics/news/messages?limit=1', 200, { token: USER });

    const emit = { event: 'offer', message: { price: 10 } };
    await checked.ask('POST /api/gateway/send', 200, { body: { ...emit, userId: 'user123' } });
    await checked.ask('POST /api/gateway/send', 200, { body: { ...emit, userId: 'nobody' } });
    await checked.ask('POST /api/gateway/send-many', 200, { body: { ...emit, userIds: ['user123', 'nobody'] } });
    await checked.ask('GET /api/gateway/status/user123', 200);
    await checked.ask('GET /api/gateway/connected', 200);
    await checked.ask('GET /api/gateway/stats', 200);

    await checked.ask('POST /websocket/message/user', 202, {
      token: testToken('user123', { scope: 'send' }),
      body: { ...send, ...later },
    });
    const lines = await ask(service.url, 'GET /users/user123/export');
    checked.check('GET /users/user123/export', lines);
    const kinds = lines.text
      .trimEnd()
      .split('\n')
      .map((line) => exportLine(checked.openapi, line));
    expect(new Set(kinds)).toEqual(new Set(['user', 'message', 'membership', 'device', 'scheduled']));
    await checked.ask('DELETE /topics/news/members/user456', 200);
    await checked.ask('DELETE /topics/news', 200);
    await checked.ask('DELETE /websocket/users/user123/disconnect', 200);
    await checked.ask('POST /users/user123/revoke', 200, { body: { jti: 'one' } });
    await checked.ask('DELETE /users/user123/data', 200);
    await checked.ask('GET /audit?limit=1', 200);
    await checked.ask('GET /audit?actor=service&action=send&since=2026-01-01T00:00:00Z', 200);
    for (const path of ['livez', 'readyz', 'healthz', 'metrics', 'openapi.json', 'asyncapi.json']) {
      await checked.ask(`GET /${path}`, 200, { token: '' });
    }

    const promised = checked.openapi.routes.flatMap(({ operation }) =>
      Object.keys(operation.responses)
        .filter((status) => status.startsWith('2'))
        .map((status) => `${operation.operationId} ${status}`),
    );
    expect([...checked.seen].sort()).toEqual(promised.sort());
  });

  it('are compared closely: a field, a status or a code more is found', async () => {
    const { openapi, service } = await Checked.start();
    const answered = await ask(service.url, 'GET /inbox/counts');
    const missing = await ask(service.url, 'GET /topics/nothing');
    expect([openapi.faultsOf(answered), openapi.faultsOf(missing)]).toEqual([[], []]);
    expect(openapi.faultsOf({ ...answered, text: '{"unseen":0,"unread":0,"more":0}' })).toHaveLength(1);
    expect(openapi.faultsOf({ ...answered, text: '{"unseen":0}' })).toHaveLength(1);
    expect(openapi.faultsOf({ ...answered, status: 201 })).toHaveLength(1);
    expect(openapi.faultsOf({ ...missing, text: missing.text.replace('"not_found"', '"forbidden"') })).toHaveLength(1);
    expect(openapi.faultsOf({ ...missing, path: '/nowhere' })).toHaveLength(1);
  });

  it('have the headers that are documented for a repeat and for a wait', async () => {
    const checked = await Checked.start();
    const headers = { 'Idempotency-Key': 'key-1' };
    await checked.ask('POST /websocket/message/user', 200, { body: send, headers });
    const repeated = await ask(checked.service.url, 'POST /websocket/message/user', { body: send, headers });
    checked.check('POST /websocket/message/user', repeated);
    expect(repeated.headers.get('idempotent-replay')).toBe('true');
    expect(repeated.headers.get('ratelimit')).toMatch(/^"caller"; r=\d+; t=\d+$/);
    const conflict = await checked.ask('POST /websocket/message/user', 422, { body: { ...send, data: 2 }, headers });
    expect(conflict['code']).toBe('idempotency_conflict');
  });

  it('are as documented where a guard refuses', async () => {
    const checked = await Checked.start();
    await checked.askEach('unauthorized', () => ({ token: '' }));
    await checked.askEach('token_expired', () => ({ token: testToken('user123', { lifetimeSeconds: -1 }) }));
    const revoked = testToken('outcast');
    await checked.ask('POST /users/outcast/revoke', 200);
    await checked.askEach('token_revoked', () => ({ token: revoked }));
    // There it depends on what is said.
    const bySaying = ['sendToTopic', 'updateMessage'];
    await checked.askEach('insufficient_scope', () => ({ token: testToken('somebody') }), bySaying);
    await checked.askEach('invalid_json', () => ({ body: '{' }));
    await checked.askEach('unsupported_media_type', () => ({ body: 'a', headers: { 'Content-Type': 'text/plain' } }));
    await checked.askEach('body_too_large', () => ({ body: `"${'a'.repeat(MAX_BODY_BYTES)}"` }));
  });

  it('need the documented scope, and none where none is documented', async () => {
    const checked = await Checked.start();
    for (const { method, path, operation } of checked.openapi.routes) {
      const [scope] = operation.security[0]?.bearer ?? [];
      const route = `${method} ${filledPath(path)}`;
      const isPublic = operation.security.length === 0;
      const { status: withoutToken } = await ask(checked.service.url, route, { token: '' });
      expect({ route, isPublic: withoutToken !== 401 }).toEqual({ route, isPublic });
      const token = testToken('somebody', { scope: scope ?? '' });
      const { status, text } = await ask(checked.service.url, route, { token });
      const isRefused = status === 403 && text.includes('insufficient_scope');
      expect({ route, isRefused }).toEqual({ route, isRefused: false });
    }
  });

  it('are as documented where the input is refused', async () => {
    const checked = await Checked.start();
    await checked.service.api.post('/topics').send({ name: 'news' }).expect(201);
    const bad = (route: string, asked: Asked = {}) => checked.ask(route, 400, asked);
    for (const { method, path, operation } of checked.openapi.routes) {
      const route = `${method} ${filledPath(path)}`;
      if (operation.requestBody !== undefined) await bad(route, { body: { state: 1, name: 1, userId: 1, jti: 1 } });
      for (const { name } of operation.parameters?.filter((parameter) => parameter.in === 'query') ?? []) {
        await bad(`${route}?${name}=1&${name}=2`, operation.requestBody === undefined ? {} : { body: { data: 1 } });
      }
      if (path.includes('{name}')) await bad(`${method} ${filledPath(path).replace('news', '-')}`, bodyOf(operation));
      if (path.includes('{userId}')) await bad(`${method} ${filledPath(path).replace('user123', '%07')}`);
      if (path.includes('{id}'))
        await bad(`${method} ${filledPath(path).replace('order-1', '%07')}`, bodyOf(operation));
      if (path.includes('{')) await bad(`${method} ${filledPath(path).replace(/user123|order-1|news/, '%ff')}`);
      if (operation.parameters?.some((parameter) => parameter.in === 'header')) {
        await bad(route, { ...bodyOf(operation), headers: { 'Idempotency-Key': 'a'.repeat(256) } });
      }
    }
  });

  it('are as documented where the operation refuses', async () => {
    const checked = await Checked.start({ ...ENV, MAX_TOPICS_PER_USER: '2' });
    const { service } = checked;
    const admin = SERVICE;
    const anna = testToken('anna');
    const ben = testToken('ben');
    const large = 'a'.repeat(2_000);
    const sender = (userId: string) => testToken(userId, { scope: 'send' });
    await checked.ask('POST /topics', 201, { token: anna, body: { name: 'news' } });
    await checked.ask('POST /topics', 409, { token: ben, body: { name: 'news' } });
    await checked.ask('POST /topics', 201, { token: anna, body: { name: 'other' } });
    await checked.ask('POST /topics', 403, { token: anna, body: { name: 'third' } });
    await checked.ask('POST /topics', 201, { token: ben, body: { name: 'bens', isPrivate: true } });
    await checked.ask('POST /topics/news/members', 403, { token: ben, body: { userId: 'carl' } });
    for (const route of [
      'GET /topics/bens',
      'DELETE /topics/bens',
      'GET /topics/bens/members',
      'POST /topics/bens/members',
      'DELETE /topics/bens/members/ben',
      'GET /topics/bens/messages',
    ]) {
      await checked.ask(route, 404, { token: anna });
    }
    await checked.ask('POST /topics/bens/messages', 404, { token: anna, body: { type: 'chat', data: 1 } });
    await checked.ask('POST /topics/news/messages', 403, { token: ben, body: { type: 'chat', data: 1 } });
    await checked.ask('GET /topics/news/messages', 403, { token: ben });
    await checked.ask('DELETE /topics/news', 403, { token: ben });
    await checked.ask('DELETE /topics/news/members/anna', 403, { token: ben });
    await checked.ask('DELETE /topics/news/members/anna', 409, { token: anna });
    await checked.ask('DELETE /topics/news/members/nobody', 404, { token: anna });
    await checked.ask('POST /topics/other/members', 200, { token: ben });
    await checked.ask('POST /topics/news/members', 403, { token: ben });
    for (const path of ['/websocket/message/user', '/topics/news/messages']) {
      await checked.ask(`POST ${path}`, 413, { body: { ...send, data: large } });
      await checked.ask(`POST ${path}`, 200, { body: { ...send, id: `twice${path.length}` } });
      await checked.ask(`POST ${path}`, 422, { body: { ...send, data: 2, id: `twice${path.length}` } });
    }
    for (const userId of ['carl', 'dora']) {
      const body = { ...send, userId: 'anna', id: 'same' };
      await checked.ask('POST /websocket/message/user', 200, { token: sender(userId), body });
      await checked.ask('POST /websocket/message/user', 202, {
        token: sender(userId),
        body: { ...body, id: 'later', delay: 99 },
      });
    }
    for (const [route, body] of [
      ['PATCH /messages/', { data: 1 }],
      ['DELETE /messages/', undefined],
    ] as const) {
      await checked.ask(`${route}same`, 409, { token: admin, body });
      await checked.ask(`${route}same`, 403, { token: anna, body });
      await checked.ask(`${route}nothing`, 404, { token: anna, body });
    }
    await checked.ask('PATCH /messages/same', 413, { token: sender('carl'), body: { data: large } });
    await checked.ask('GET /messages/same/receipts', 409);
    await checked.ask('GET /messages/same/receipts', 403, { token: anna });
    await checked.ask('GET /messages/nothing/receipts', 404);
    await checked.ask('DELETE /scheduled/later', 409);
    await checked.ask('DELETE /scheduled/nothing', 404);
    await checked.ask('PATCH /inbox', 404, { token: anna, body: { state: 'read', ids: ['nothing'] } });
    await checked.ask('PATCH /inbox/nothing', 404, { token: anna, body: { state: 'read' } });
    await checked.ask('POST /messages/batch', 413, { body: { messages: Array.from({ length: 1_001 }, () => ({})) } });
    await checked.ask('POST /messages/batch', 200, { body: { messages: Array.from({ length: 1_000 }, () => ({})) } });
    await service.stop();
  });

  it('are as documented beyond the rate', async () => {
    const checked = await Checked.start({ RATE_LIMIT_PER_MINUTE: '1', RATE_LIMIT_SERVICE_PER_MINUTE: '1' });
    await checked.ask('GET /inbox/counts', 200);
    const answered = await ask(checked.service.url, 'GET /inbox/counts');
    expect(checked.check('GET /inbox/counts', answered)).toMatchObject({ code: 'rate_limited', status: 429 });
    expect(Number(answered.headers.get('retry-after'))).toBeGreaterThan(0);
    await checked.askEach('rate_limited', () => ({}));
  });

  it('of the probes are as documented while the service stops', async () => {
    const checked = await Checked.start({ SHUTDOWN_TIMEOUT_MS: '10000' });
    const stopped = checked.service.stop();
    await checked.ask('GET /livez', 200, { token: '' });
    await checked.ask('GET /readyz', 503, { token: '' });
    await checked.ask('GET /healthz', 503, { token: '' });
    await stopped;
  });
});

function bodyOf({
  requestBody,
}: {
  requestBody?: { content: Readonly<Record<string, { example?: unknown }>> };
}): Asked {
  return requestBody === undefined ? {} : { body: requestBody.content['application/json']?.example };
}

/** The kind of a line that is as the document says. */
function exportLine(openapi: OpenApi, line: string): unknown {
  const value = JSON.parse(line) as { kind: string };
  expect({ line, faults: openapi.faults({ $ref: '#/components/schemas/ExportLine' }, value) }).toEqual({
    line,
    faults: [],
  });
  return value.kind;
}
