/** Faults F1 and F6: the process is killed, or told to stop, while messages are being sent. */
import type { Message } from '../../utils/protocol';
import { openClient, type TestClient } from '../support/client';
import { eventually } from '../support/eventually';
import { freePort, type RunningProcess, runServer } from '../support/process';
import { seededRandom } from '../support/random';
import { range, TEST_SECRET, testToken } from '../support/service';
import { temporaryDirectory } from '../support/temporary';

const USERS = ['anna', 'ben', 'carla'];
const SENDERS = 8;

interface Accepted {
  readonly userId: string;
  readonly id: string;
  readonly seq: number;
}

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

/** Sends from several loops until the service no longer answers; keeps what was answered 2xx. */
async function sendUntilGone(url: string, onAccepted: (accepted: Accepted) => void): Promise<void> {
  const Authorization = `Bearer ${testToken('service', { scope: 'send' })}`;
  const loop = async (sender: number) => {
    for (let n = 0; ; n += 1) {
      const userId = USERS[(sender + n) % USERS.length] ?? '';
      const body = JSON.stringify({ userId, type: 'load', data: { sender, n } });
      const response = await fetch(`${url}/websocket/message/user`, {
        method: 'POST',
        headers: { Authorization, 'Content-Type': 'application/json' },
        body,
      }).catch(() => undefined);
      const answer = response?.ok === true ? await response.json().catch(() => undefined) : undefined;
      if (answer === undefined) return;
      onAccepted({ userId, ...(answer as { id: string; seq: number }) });
    }
  };
  await Promise.all(range(1, SENDERS).map(loop));
}

/** Everything that waits for a user, acknowledged page by page. */
async function drain(url: string, userId: string): Promise<Message[]> {
  const client: TestClient = openClient(url, { auth: { token: testToken(userId), device: 'judge' } });
  client.socket.on('message', ({ topic, seq }: Message) => client.socket.emit('ack', { topic, seq }));
  await client.next('sync:done');
  client.close();
  return client.allMessages;
}

async function judge(url: string, accepted: readonly Accepted[]): Promise<void> {
  for (const userId of USERS) {
    const delivered = await drain(url, userId);
    const bySeq = new Map(delivered.map((message) => [message.seq, message.id]));
    // No gap and no repeat: what failed may have been stored, but nothing between may be missing.
    expect(delivered.map(({ seq }) => seq)).toEqual(range(1, delivered.length));
    expect(new Set(bySeq.values()).size).toBe(delivered.length);
    for (const { id, seq } of accepted.filter((one) => one.userId === userId)) expect(bySeq.get(seq)).toBe(id);
  }
}

it('kill -9 at random moments under load loses nothing that was answered 2xx', async () => {
  const random = seededRandom('kill -9 under load');
  const directory = temporaryDirectory();
  const accepted: Accepted[] = [];
  for (const _round of range(1, 5)) {
    const { process: server, url } = await start(directory);
    const killAfter = accepted.length + random.integer(1, 300);
    let isKilled = false;
    await sendUntilGone(url, (one) => {
      accepted.push(one);
      if (accepted.length < killAfter || isKilled) return;
      isKilled = true;
      server.child.kill('SIGKILL');
    });
  }
  expect(accepted.length).toBeGreaterThan(5);
  const { url } = await start(directory);
  await judge(url, accepted);
});

/** A request that may be sent again without doubt, and what it is about. */
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

it('kill -9 loses no change of state, and what is repeated under its key is sent once, now or later', async () => {
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

it('SIGTERM under load ends within the time, tells the clients, and loses nothing', async () => {
  const directory = temporaryDirectory();
  const first = await start(directory);
  const watcher = openClient(first.url, { auth: { token: testToken('watcher') } });
  await watcher.next('sync:done');
  const accepted: Accepted[] = [];
  let ending: ReturnType<RunningProcess['end']> | undefined;
  await sendUntilGone(first.url, (one) => {
    accepted.push(one);
    if (accepted.length === 200) ending = first.process.end('SIGTERM');
  });
  expect(await ending).toEqual({ code: 0, signal: null });
  expect(await watcher.next('closing')).toEqual({
    code: 'going_away',
    reason: expect.any(String),
    retryInMs: expect.any(Number),
  });
  // The client's own reconnection stays on: the server closed the transport, not the socket.
  expect(await watcher.next('disconnect')).toBe('transport close');
  const { url } = await start(directory);
  await judge(url, accepted);
});

it('a second process on the same directory is refused, and told why', async () => {
  const directory = temporaryDirectory();
  const first = await start(directory);
  const second = runServer({ PORT: '0', DATA_DIR: directory, JWT_SECRET: TEST_SECRET, NODE_ENV: 'production' });
  expect(await second.line(/in use/)).toContain(`process ${first.process.child.pid}`);
  const { code } = await second.end('SIGCONT');
  expect(code).toBe(1);
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

it('what an administrator did is in the audit log after kill -9', async () => {
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
