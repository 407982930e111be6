/** Tokens that are revoked over one node are refused by all of them, and connections closed, within a second. */
import { openClient } from '../support/client';
import { MONGODB_URL, newDatabase, REDIS_URL, startCluster, untilLive } from '../support/cluster';
import { DOORS, overRest } from '../support/doors';
import { eventually } from '../support/eventually';
import { forgeClaims } from '../support/forged-tokens';
import { describeWith } from '../support/needs';
import { openPlain } from '../support/plain-client';
import type { TestService } from '../support/service';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy';
import type { AnyClient } from '../support/transports';

const describeCluster = describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
);

/** How long a revoked token may be accepted, and its connections stay open, on whatever node. */
const PROMISED_MS = 1_000;
/** Seconds, some time before any test. */
const NOW = Math.floor(Date.now() / 1000) - 600;

const tokenOf = (claims: object = {}) => forgeClaims({ sub: 'anna', iat: NOW, exp: NOW + 7_200, ...claims });

async function overSocketIo(service: TestService, token: string): Promise<AnyClient> {
  const client = openClient(service.url, { auth: { token } });
  await client.next('sync:done');
  return client;
}

async function overPlain(service: TestService, token: string): Promise<AnyClient> {
  const client = openPlain(service.url, { path: `/ws?token=${token}` });
  await client.next('sync:done');
  return client;
}

async function revoked(service: TestService, body: object = {}): Promise<number> {
  const answer = await service.api.post('/users/anna/revoke').send(body).expect(200);
  return answer.body.closed;
}

/** All nodes know that anna has this many connections. */
async function untilConnected(services: readonly TestService[], sockets: number): Promise<void> {
  for (const service of services) {
    await eventually(
      () => service.api.get('/websocket/users/anna/status'),
      ({ body }) => body.sockets === sockets,
    );
  }
}

/** Runs `work`, and fails if it takes longer than was promised. */
async function inTime(work: () => Promise<unknown>): Promise<void> {
  const begun = performance.now();
  await work();
  expect(performance.now() - begun).toBeLessThan(PROMISED_MS);
}

const expectClosed = (client: AnyClient) =>
  client.next('closing').then((closing) => expect(closing).toMatchObject({ code: 'revoked', retryInMs: null }));

type Pair = [here: TestService, there: TestService];

async function startPair(options: Parameters<typeof startCluster>[0] = {}): Promise<Pair> {
  const [here, there] = await startCluster(options);
  if (here === undefined || there === undefined) throw new Error('two nodes are needed');
  return [here, there];
}

async function startBehindProxy(): Promise<{ nodes: Pair; proxy: TcpProxy }> {
  const { hostname, port } = new URL(REDIS_URL ?? '');
  const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
  return { nodes: await startPair({ redisUrl: `redis://127.0.0.1:${proxy.port}` }), proxy };
}

describeCluster('tokens revoked over one node', () => {
  it('are refused by the other one at every door, and all connections are closed and counted', async () => {
    const [here, there] = await startPair();
    const clients = await Promise.all([
      overSocketIo(here, tokenOf()),
      overPlain(here, tokenOf()),
      overSocketIo(there, tokenOf({ iat: NOW - 5 })),
      overPlain(there, tokenOf({ iat: undefined })),
    ]);
    const ben = await overPlain(there, tokenOf({ sub: 'ben' }));
    const newer = await overPlain(there, tokenOf({ iat: NOW + 1 }));
    await untilConnected([here, there], 5);
    for (const service of [here, there]) expect(await overRest(service, tokenOf())).toBe('accepted');
    await inTime(async () => {
      expect(await revoked(here, { issuedBefore: NOW + 1 })).toBe(4);
      await Promise.all(clients.map(expectClosed));
    });
    for (const [, enter] of DOORS) expect(await enter(there, tokenOf())).toBe('token_revoked');
    const [sent] = await here.send('anna', [1]);
    expect(await newer.next('message')).toMatchObject({ id: sent?.id });
    for (const client of clients) expect(client.allMessages).toEqual([]);
    await ben.settle();
    await untilConnected([here, there], 1);
  });

  it('by their id: the one connection is closed, wherever it is, and counted', async () => {
    const [here, there] = await startPair();
    const gone = await overSocketIo(there, tokenOf({ jti: 'one' }));
    const stays = await overSocketIo(there, tokenOf({ jti: 'two' }));
    await untilConnected([here, there], 2);
    await inTime(async () => {
      expect(await revoked(here, { jti: 'one' })).toBe(1);
      await expectClosed(gone);
    });
    await stays.settle();
    expect(await revoked(here, { jti: 'one' })).toBe(0);
    expect(await overRest(there, tokenOf({ jti: 'one' }))).toBe('token_revoked');
    expect(await overRest(there, tokenOf({ jti: 'two' }))).toBe('accepted');
  });

  it('while Redis is down: by comparison with the store', async () => {
    const {
      nodes: [here, there],
      proxy,
    } = await startBehindProxy();
    const near = await overSocketIo(here, tokenOf());
    const far = [await overSocketIo(there, tokenOf()), await overPlain(there, tokenOf())];
    await untilConnected([here, there], 3);
    proxy.cut();
    for (const service of [here, there]) await untilLive(service, 'degraded');
    expect(await overRest(there, tokenOf())).toBe('accepted');
    await inTime(async () => {
      expect(await revoked(here)).toBe(1);
      await expectClosed(near);
      await Promise.all(far.map(expectClosed));
    });
    expect(await overRest(there, tokenOf())).toBe('token_revoked');
  });

  it('are refused by a node that starts later', async () => {
    const storeUrl = newDatabase();
    const [here] = await startCluster({ nodes: 1, storeUrl });
    await revoked(here as TestService, { issuedBefore: NOW + 1 });
    await revoked(here as TestService, { jti: 'one' });
    const [later] = await startCluster({ nodes: 1, storeUrl });
    expect(await overRest(later as TestService, tokenOf())).toBe('token_revoked');
    expect(await overRest(later as TestService, tokenOf({ iat: NOW + 1, jti: 'one' }))).toBe('token_revoked');
    expect(await overRest(later as TestService, tokenOf({ iat: NOW + 1 }))).toBe('accepted');
  });

  it('when nobody is connected anywhere, nobody is waited for', async () => {
    const [here, there] = await startPair();
    await inTime(() => revoked(here));
    await eventually(
      () => overRest(there, tokenOf()),
      (verdict) => verdict === 'token_revoked',
    );
  });
});
