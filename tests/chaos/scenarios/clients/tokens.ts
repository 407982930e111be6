/** Tokens that end while connections use them: by expiry, and by revocation. */
import request from 'supertest';
import { DOORS } from '../../../support/doors';
import { testToken } from '../../../support/service';
import { onTestEnd } from '../../../support/temporary';
import { framesOf } from '../../../support/transports';
import { examine, type Findings } from '../../findings';
import type { Place } from '../../history';
import { request as send } from '../../http';
import { WAYS, type Way } from '../../line';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { ask, listedUsers, sendTo } from '../../rest';
import type { Outcome, Scenario } from '../../scenario';
import { withSlack } from '../../slack';
import { startNodes } from '../../two-nodes';
import { until } from '../../until';
import { endOf, hasGot, placesOf, type Visitor, visit } from '../../visitor';

const LIFETIME_SECONDS = 3;
const CLOSED_WITHIN_MS = 5_000;
const REVOKED_WITHIN_MS = 1_000;
const UNTIL_REVOKED = 'ms until all are closed and every node refuses';
const PATIENCE_MS = 30_000;
const DEVICE = 'phone';

/** Sends to users in turn until it is told to end. */
class Stream {
  readonly places = new Map<string, Place[]>();
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(url: string, userIds: readonly string[]) {
    this.#done = this.#run(url, userIds);
    // Reported by end(); a scenario that ends early has other findings.
    this.#done.catch(() => undefined);
    onTestEnd(() => {
      this.#isOver = true;
    });
  }

  async #run(url: string, userIds: readonly string[]): Promise<void> {
    while (!this.#isOver) {
      for (const userId of userIds) {
        this.places.set(userId, [...(this.places.get(userId) ?? []), await sendTo(url, userId)]);
      }
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }

  sentTo(userId: string): string[] {
    return (this.places.get(userId) ?? []).map(({ seq, id }) => `${seq} ${id}`);
  }
}

function toldOf({ client }: Visitor, event: string): Readonly<Record<string, unknown>> | undefined {
  return framesOf(client).find((frame) => frame.event === event)?.payload;
}

interface Expiring {
  readonly visitor: Visitor;
  readonly token: string;
  readonly expiresAtMs: number;
}

async function comeForShort(node: ChaosNode, way: Way, userId: string): Promise<Expiring> {
  const token = testToken(userId, { lifetimeSeconds: LIFETIME_SECONDS });
  const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number };
  const visitor = await visit(way, node.url, { userId, device: DEVICE, token });
  await visitor.client.next('sync:done');
  return { visitor, token, expiresAtMs: exp * 1_000 };
}

async function runExpired(): Promise<Outcome> {
  const node = await startOne();
  return examine([node], async (findings) => {
    const ending = await Promise.all(WAYS.map((way) => comeForShort(node, way, `ends, ${way}`)));
    const renewing = await Promise.all(WAYS.map((way) => comeForShort(node, way, `renews, ${way}`)));
    const stream = new Stream(
      node.url,
      [...ending, ...renewing].map(({ visitor }) => visitor.userId),
    );
    for (const { visitor } of renewing) await renew(findings, visitor);
    const times = await Promise.all(ending.map((one) => followToEnd(findings, node, one)));
    const lastEnd = Math.max(...renewing.map(({ expiresAtMs }) => expiresAtMs));
    await until(
      'the last of the first tokens has expired',
      PATIENCE_MS,
      async () => Date.now(),
      (now) => now > lastEnd + 1_500,
    );
    await stream.end();
    for (const one of ending) await comeAgain(findings, node, one, stream);
    for (const { visitor } of renewing) await expectWhole(findings, visitor, stream);
    return Object.fromEntries(WAYS.map((way, index) => [`ms from exp to the end, ${way}`, times[index] ?? '']));
  });
}

async function renew(findings: Findings, { way, userId, client }: Visitor): Promise<void> {
  const token = testToken(userId);
  const reply = way === 'plain' ? await client.call('auth', { token }) : await client.call('auth:refresh', { token });
  findings.expect(reply.ok, `${userId} was refused a newer token: ${JSON.stringify(reply)}`);
}

/** @returns how long after the token's expiry the connection ended. */
async function followToEnd(
  findings: Findings,
  node: ChaosNode,
  { visitor, token, expiresAtMs }: Expiring,
): Promise<number> {
  const { userId } = visitor;
  const isEnded = (await endOf(visitor)) < Number.POSITIVE_INFINITY;
  findings.expect(isEnded, `${userId} was never closed`);
  const milliseconds = Date.now() - expiresAtMs;
  findings.expect(milliseconds >= 0, `${userId} was closed ${-milliseconds} ms before the token's end`);
  findings.expect(
    milliseconds <= withSlack(CLOSED_WITHIN_MS),
    `${userId} was closed ${milliseconds} ms after the token's end`,
  );
  findings.expect(toldOf(visitor, 'auth:expiring') !== undefined, `${userId} was not told \`auth:expiring\``);
  findings.expectSame(toldOf(visitor, 'closing')?.['code'], 'token_expired', `${userId} was told as the reason`);
  const answer = await send(`${node.url}/inbox/counts`, { token });
  findings.expectSame(answer?.body['code'], 'token_expired', `REST has answered ${userId}`);
  const listed = await listedUsers(node.url);
  findings.expect(!listed.includes(userId), `${userId} is listed after the end`);
  return milliseconds;
}

/**
 * Nothing was acknowledged, so all of it comes again: what was delivered before the end, and what was not delivered
 * after it.
 */
async function comeAgain(findings: Findings, node: ChaosNode, { visitor }: Expiring, stream: Stream): Promise<void> {
  const { userId, way } = visitor;
  const sent = stream.sentTo(userId);
  const got = placesOf(visitor);
  findings.expect(
    got.length > 0 && got.length < sent.length,
    `nothing was tried: ${userId} got ${got.length} of ${sent.length}`,
  );
  findings.expectSame(got, sent.slice(0, got.length), `${userId} has got before the end`);
  const back = await visit(way, node.url, { userId, device: DEVICE });
  await expectWhole(findings, back, stream);
  findings.expectSame(placesOf(visitor), got, `${userId} has got after the end`);
}

/** Receives everything, in order, once. Pages wait for acknowledgements. */
async function expectWhole(findings: Findings, visitor: Visitor, stream: Stream): Promise<void> {
  const { userId, client } = visitor;
  const sent = stream.sentTo(userId);
  for (let seen = 0; seen < sent.length; ) {
    await hasGot(visitor, seen + 1);
    seen = client.allMessages.length;
    await client.call('ack', { topic: `@${userId}`, seq: seen });
  }
  findings.expectSame(placesOf(visitor), sent, `${userId} has got in all`);
}

async function runRevoked(): Promise<Outcome> {
  const { nodes } = await startNodes();
  return examine(nodes, async (findings) => {
    const token = testToken('anna');
    const others = testToken('ben');
    const visitors: Visitor[] = [];
    const staying: Visitor[] = [];
    for (const { url } of nodes) {
      for (const way of WAYS) {
        visitors.push(await visit(way, url, { userId: 'anna', device: `${way} ${visitors.length}`, token }));
        staying.push(await visit(way, url, { userId: 'ben', device: `${way} ${visitors.length}`, token: others }));
      }
    }
    const stream = new Stream(nodes[0].url, ['anna', 'ben']);
    for (const visitor of visitors) await hasGot(visitor, 3);
    const revokedAt = performance.now();
    // One second ahead: a token of this second may have been made after the decision.
    const issuedBefore = Math.ceil(Date.now() / 1_000) + 1;
    await ask(`${nodes[0].url}/users/anna/revoke`, { method: 'POST', body: { issuedBefore } });
    const times = [...visitors.map(endOf), ...nodes.map((node) => refusedOverRest(node, token))];
    const slowest = Math.round(Math.max(...(await Promise.all(times))) - revokedAt);
    findings.expect(slowest <= withSlack(REVOKED_WITHIN_MS), `not all was closed and refused before ${slowest} ms`);
    for (const node of nodes) await expectRefused(findings, node, token);
    const got = visitors.map((visitor) => visitor.client.allMessages.length);
    const sent = stream.sentTo('anna').length;
    await until(
      'more is sent',
      PATIENCE_MS,
      async () => stream.sentTo('anna').length,
      (now) => now > sent + 5,
    );
    await stream.end();
    findings.expectSame(
      visitors.map(({ client }) => client.allMessages.length),
      got,
      'messages after the end',
    );
    for (const visitor of visitors) {
      findings.expectSame(toldOf(visitor, 'closing')?.['code'], 'revoked', `${visitor.way} was told as the reason`);
    }
    for (const visitor of staying) await expectWhole(findings, visitor, stream);
    return { [UNTIL_REVOKED]: slowest };
  });
}

/** Resolves to the moment at which a node refuses a token. */
async function refusedOverRest({ name, url }: ChaosNode, token: string): Promise<number> {
  const ask = () => send(`${url}/inbox/counts`, { token });
  await until(`${name} refuses the token`, PATIENCE_MS, ask, (answer) => answer?.body['code'] === 'token_revoked');
  return performance.now();
}

async function expectRefused(findings: Findings, { name, url }: ChaosNode, token: string): Promise<void> {
  const doorway = { url, anonymous: request.agent(url) };
  for (const [door, enter] of DOORS) {
    findings.expectSame(await enter(doorway, token), 'token_revoked', `${name} has answered over ${door}`);
  }
}

export const TOKENS: readonly Scenario[] = [
  {
    id: 'F33',
    fault: 'a token expires during a connection',
    injected: `tokens of ${LIFETIME_SECONDS} s, during sends: both transports and polling, one of two is refreshed`,
    expected: `they receive \`auth:expiring\` and are closed within ${CLOSED_WITHIN_MS / 1_000} s of the expiry, nothing delivered after; REST refuses; a refreshed connection continues; the rest comes on the next connect`,
    needs: [],
    tells: WAYS.map((way) => `ms from exp to the end, ${way}`),
    run: runExpired,
  },
  {
    id: 'F33 (revoked)',
    fault: 'a user is revoked',
    injected: 'a revocation through one of two nodes, during sends: both transports and polling on both nodes',
    expected: 'closed and refused on every node within 1 s, nothing delivered after, others stay',
    needs: ['mongodb', 'redis'],
    tells: [UNTIL_REVOKED],
    run: runRevoked,
  },
];
