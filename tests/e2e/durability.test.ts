/** What is on disk beside messages, after a kill -9; the messages themselves are the scenario of fault F1 in tests/chaos. */
import type { Message } from '../../utils/protocol';
import { eventually } from '../support/eventually';
import { freePort, type RunningProcess, runServer } from '../support/process';
import { seededRandom } from '../support/random';
import { range, TEST_SECRET, testToken } from '../support/service';
import { temporaryDirectory } from '../support/temporary';

const SENDERS = 8;

interface Service {
  readonly process: RunningProcess;
  readonly url: string;
}

async function start(directory: string): Promise<Service> {
  const port = await freePort();
  const env = { PORT: String(port), DATA_DIR: directory, JWT_SECRET: TEST_SECRET, NODE_ENV: 'production' };
  const server = runServer({ ...env, RATE_LIMIT_SERVICE_PER_MINUTE: '1000000' });
  await server.line(/"msg":"listening"/);
  return { process: server, url: `http://127.0.0.1:${port}` };
}

/** A request that is safe to repeat, and what it is about. */
interface Intent {
  readonly key: string;
  readonly isScheduled: boolean;
}

interface Listed extends Message {
  readonly state: string;
}

interface Body {
  readonly id: string;
  readonly items: readonly Listed[];
  readonly nextCursor: string | null;
}

/** Requests of one service; a lost answer is `undefined`. */
function callerOf(url: string) {
  const request = async (method: string, path: string, options: { token: string; key?: string; body?: object }) => {
    const { token, key, body } = options;
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    return fetch(`${url}${path}`, {
      method,
      headers: key === undefined ? headers : { ...headers, 'Idempotency-Key': key },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
      .then(async (response) => {
        const body = (await response.json()) as Body;
        return { ok: response.ok, headers: response.headers, body };
      })
      .catch(() => undefined);
  };
  const service = testToken('service', { scope: 'send' });
  const anna = testToken('anna');
  return {
    carryOut: ({ key, isScheduled }: Intent) =>
      request('POST', '/websocket/message/user', {
        token: service,
        key,
        body: { userId: 'anna', type: 'load', data: key, ...(isScheduled ? { delay: 1 } : {}) },
      }),
    read: (id: string) => request('PATCH', `/inbox/${id}`, { token: anna, body: { state: 'read' } }),
    waiting: () => request('GET', '/scheduled?limit=1', { token: service }),
    counts: () => request('GET', '/inbox/counts', { token: anna }),
    async inbox(): Promise<Listed[]> {
      const items: Listed[] = [];
      let cursor: string | null = '';
      do {
        const page = await request('GET', `/inbox?limit=200${cursor && `&cursor=${cursor}`}`, { token: anna });
        if (page === undefined) throw new Error('no answer');
        items.push(...page.body.items);
        cursor = page.body.nextCursor;
      } while (cursor !== null);
      return items;
    },
  };
}

it('kill -9 loses no change of state, and a request repeated under its key is sent once, now or later', async () => {
  const random = seededRandom('kill -9 with keys');
  const directory = temporaryDirectory();
  const intents = new Map<string, Intent>();
  const ids = new Map<string, string>();
  const read = new Set<string>();
  let sent = 0;
  for (const _round of range(1, 4)) {
    const { process: server, url } = await start(directory);
    const { carryOut, read: markAsRead } = callerOf(url);
    const killAfter = sent + random.integer(20, 200);
    const loop = async () => {
      for (;;) {
        const intent = { key: `key ${sent}`, isScheduled: sent % 3 === 0 };
        sent += 1;
        intents.set(intent.key, intent);
        if (sent === killAfter) server.child.kill('SIGKILL');
        const answer = await carryOut(intent);
        if (answer?.ok !== true) return;
        ids.set(intent.key, answer.body.id);
        if (intent.isScheduled) continue;
        const marked = await markAsRead(answer.body.id);
        if (marked?.ok !== true) return;
        read.add(answer.body.id);
      }
    };
    await Promise.all(range(1, SENDERS).map(loop));
  }
  expect(ids.size).toBeLessThan(intents.size);

  const { carryOut, waiting, inbox, counts } = callerOf((await start(directory)).url);
  for (const intent of intents.values()) {
    const known = ids.get(intent.key);
    const answer = await carryOut(intent);
    if (answer?.ok !== true) throw new Error('refused');
    if (known === undefined) ids.set(intent.key, answer.body.id);
    else expect([answer.headers.get('Idempotent-Replay'), answer.body.id]).toEqual(['true', known]);
  }
  await eventually(waiting, (answer) => answer?.body.items.length === 0);
  const items = await inbox();
  expect(items.map(({ data }) => data).sort()).toEqual([...intents.keys()].sort());
  for (const { id, data } of items) expect(id).toBe(ids.get(String(data)));
  const unread = items.filter(({ state }) => state !== 'read');
  expect(unread.filter(({ id }) => read.has(id))).toEqual([]);
  expect((await counts())?.body).toMatchObject({ unread: unread.length });
});

it('a revocation that was answered holds after kill -9', async () => {
  const directory = temporaryDirectory();
  const token = testToken('anna');
  const statusOf = async (url: string) => {
    const { status } = await fetch(`${url}/inbox/counts`, { headers: { Authorization: `Bearer ${token}` } });
    return status;
  };
  const { process: server, url } = await start(directory);
  expect(await statusOf(url)).toBe(200);
  const Authorization = `Bearer ${testToken('service', { scope: 'admin' })}`;
  const { status } = await fetch(`${url}/users/anna/revoke`, { method: 'POST', headers: { Authorization } });
  server.child.kill('SIGKILL');
  expect(status).toBe(200);
  await server.end('SIGKILL');
  const again = await start(directory);
  expect(await statusOf(again.url)).toBe(401);
});

it('an administrator’s action is in the audit log after kill -9', async () => {
  const directory = temporaryDirectory();
  const headers = { Authorization: `Bearer ${testToken('admin', { scope: 'admin' })}` };
  const did: object[] = [];
  const ACTIONS = [
    ['revoke', 'POST', '/users/anna/revoke'],
    ['erase', 'DELETE', '/users/anna/data'],
    ['disconnect', 'DELETE', '/websocket/users/anna/disconnect'],
  ] as const;
  for (const [action, method, path] of ACTIONS) {
    const { process: server, url } = await start(directory);
    const response = await fetch(url + path, { method, headers });
    server.child.kill('SIGKILL');
    expect(response.status).toBe(200);
    const requestId = response.headers.get('x-request-id');
    did.unshift({ actor: 'admin', action, outcome: 'done', target: '@anna', count: 0, requestId });
    await server.end('SIGKILL');
  }
  const { url } = await start(directory);
  const { items } = (await (await fetch(`${url}/audit`, { headers })).json()) as { items: object[] };
  expect(items).toMatchObject(did);
});
