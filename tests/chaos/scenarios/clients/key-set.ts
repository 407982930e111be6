/** An issuer whose keys cannot be fetched, or only slowly, during a flood of tokens with unknown keys. */
import request from 'supertest';
import { DOORS, overRest } from '../../../support/doors';
import { type Issuer, makeKey, type SigningKey, signWith, startIssuer } from '../../../support/issuer';
import type { Random } from '../../../support/random';
import { range } from '../../../support/service';
import { startTcpProxy, type TcpProxy } from '../../../support/tcp-proxy';
import { examine, type Findings } from '../../findings';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import type { Figures, Outcome, Scenario } from '../../scenario';
import { withSlack } from '../../slack';
import { pace } from '../../until';

const FLOOD = 300;
/** Sockets that connect at the same time, through each of their doors. */
const SOCKETS = 5;
const SLOW_MS = 3_000;
const FETCH_TIMEOUT_MS = 5_000;
/** Added by a busy machine. */
const SLACK_MS = 3_000;
/** For one request for the key set, there are about two hundred. */
const MAX_REQUEST_BYTES = 390;
const old = makeKey('old');
const fresh = makeKey('fresh', 'RS256');
const stranger = makeKey('stranger');

interface Scene {
  readonly findings: Findings;
  readonly node: ChaosNode;
  readonly issuer: Issuer;
  readonly proxy: TcpProxy;
  /** The answer to a token of this key, over REST. */
  readonly enter: (key: SigningKey, kid?: string) => Promise<string>;
}

function tokenOf(key: SigningKey, kid = key.kid): string {
  return signWith(key, { sub: 'anna' }, { kid });
}

/** A node whose issuer is behind a proxy; it has fetched the keys once. */
async function openScene(name: string, random: Random): Promise<Omit<Scene, 'findings'>> {
  const issuer = await startIssuer(old);
  const { hostname, port, pathname } = new URL(issuer.url);
  const proxy = await startTcpProxy({ host: hostname, port: Number(port) }, random);
  const node = await startOne({ name, env: { JWT_SECRET: '', JWT_JWKS_URL: `${proxy.url}${pathname}` } });
  const doorway = { url: node.url, anonymous: request.agent(node.url) };
  return { node, issuer, proxy, enter: (key, kid) => overRest(doorway, tokenOf(key, kid)) };
}

/** Everybody at once with a made-up name. Resolves to the longest wait. */
async function flood({ findings, node, enter }: Scene, count = FLOOD): Promise<number> {
  const startedAt = performance.now();
  const doorway = { url: node.url, anonymous: request.agent(node.url) };
  const knocks = DOORS.flatMap(([, knock]) =>
    range(1, SOCKETS).map((n) => knock(doorway, tokenOf(stranger, `socket ${n}`))),
  );
  const asked = range(1, count).map((n) => enter(stranger, `made up ${n}`));
  const verdicts = new Set(await Promise.all([...knocks, ...asked]));
  findings.expectSame([...verdicts], ['unauthorized'], `${node.name}: tokens of unknown keys were`);
  return Math.round(performance.now() - startedAt);
}

/** Tokens of an existing key, one after the other until `end` has come. @returns how many were served meanwhile. */
async function serveDuring({ findings, node, enter }: Scene, end: Promise<unknown>): Promise<number> {
  let isOver = false;
  let served = 0;
  const over = end.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    const verdict = await enter(old);
    findings.expect(verdict === 'accepted', `${node.name}: a token of a known key was ${verdict}`);
    if (!isOver) served += 1;
  }
  await over;
  return served;
}

/** The key is rotated, the issuer needs seconds for an answer, and the flood comes with the first new token. */
async function rotateSlowly(scene: Scene): Promise<Figures> {
  const { findings, issuer, proxy, enter } = scene;
  issuer.publish(fresh);
  proxy.poison('down', { latencyMs: SLOW_MS, bytesPerSecond: 2_000 });
  const first = enter(fresh);
  const flooding = flood(scene);
  // Not to its end: from then on, the old key is withdrawn.
  const served = await serveDuring(scene, Promise.race([first, pace(SLOW_MS - 500)]));
  findings.expect(served > 0, `only ${served} tokens of a known key were served while the new ones were fetched`);
  findings.expectSame(await first, 'accepted', 'the first token of the new key was');
  await flooding;
  findings.expectSame(await enter(old), 'unauthorized', 'a token of the key that was withdrawn is');
  await flood(scene);
  findings.expectSame(await enter(fresh), 'accepted', 'a token of the new key is');
  findings.expectSame(issuer.requests, 2, 'fetches, the first one at the start');
  return { 'served during a slow fetch': served, 'fetches for a flood': issuer.requests - 1 };
}

/** The log says once that the keys cannot be fetched. Ends the node. */
async function expectTold({ node, findings }: Scene): Promise<void> {
  await node.end();
  const told = node.log.filter((line) => line.includes('cannot be fetched'));
  findings.expectSame(told.length, 1, `${node.name}: told that keys cannot be fetched`);
}

async function goDown(scene: Scene): Promise<Figures> {
  const { findings, issuer, proxy, enter } = scene;
  proxy.cut();
  const before = proxy.counts.connections;
  const waited = await flood(scene);
  findings.expectSame(await enter(old), 'accepted', 'with the issuer down, a token of a known key is');
  await flood(scene);
  findings.expectSame(proxy.counts.connections - before, 1, 'attempts to reach an issuer that is down');
  findings.expectSame(issuer.requests, 1, 'fetches that got through to it');
  await expectTold(scene);
  return { 'ms until refused, issuer down': waited };
}

async function goSilent(scene: Scene): Promise<Figures> {
  const { findings, proxy, enter } = scene;
  proxy.hang();
  const startedAt = performance.now();
  const first = enter(stranger, 'the first');
  const flooding = flood(scene, FLOOD / 10);
  const served = await serveDuring(scene, first);
  const waited = Math.round(performance.now() - startedAt);
  findings.expectSame(await first, 'unauthorized', 'with a silent issuer, a token of an unknown key is');
  await flooding;
  findings.expect(served > 0, 'nobody was served while the issuer was silent');
  findings.expect(waited <= withSlack(FETCH_TIMEOUT_MS + SLACK_MS), `who came with an unknown key waited ${waited} ms`);
  const asked = proxy.counts.lostBytes.up;
  findings.expect(asked > 0, 'nothing was tried: nothing was asked of a silent issuer');
  findings.expect(asked < MAX_REQUEST_BYTES, `${asked} bytes were said to a silent issuer: more than one request`);
  findings.expectSame(await enter(old), 'accepted', 'after that, a token of a known key is');
  await expectTold(scene);
  return { 'ms until refused, issuer silent': waited };
}

async function runKeySet(random: Random): Promise<Outcome> {
  const [slow, down, silent] = await Promise.all([
    openScene('slow', random),
    openScene('down', random),
    openScene('silent', random),
  ]);
  return examine([slow.node, down.node, silent.node], async (findings) => {
    const figures = [await rotateSlowly({ ...slow, findings })];
    // Mostly waiting: the other one has its turn meanwhile.
    const waiting = goSilent({ ...silent, findings });
    figures.push(await goDown({ ...down, findings }), await waiting);
    return Object.assign({}, ...figures) as Figures;
  });
}

export const KEY_SET: readonly Scenario[] = [
  {
    id: 'F32',
    fault: 'the issuer of keys is slow, down or silent, and rotates its key; unknown keys come in a flood',
    injected: `a proxy before the issuer: ${SLOW_MS / 1_000} s late, cut, silent; ${FLOOD} made-up names and more through every door, at once`,
    expected:
      'existing keys keep working; one fetch per flood; the new key works with its first token, the withdrawn one no longer; logged once',
    needs: [],
    tells: ['fetches for a flood', 'ms until refused, issuer down', 'ms until refused, issuer silent'],
    run: runKeySet,
  },
];
