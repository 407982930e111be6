/** Clients that are gone without notice, and connections with only one working direction. */
import { openPlain } from '../../../support/plain-client';
import type { Random } from '../../../support/random';
import { openRawSocket } from '../../../support/raw-socket';
import { testToken } from '../../../support/service';
import { startTcpProxy, type TcpProxy } from '../../../support/tcp-proxy';
import { onTestEnd } from '../../../support/temporary';
import { framesOf } from '../../../support/transports';
import { examine, type Findings } from '../../findings';
import { WAYS, type Way } from '../../line';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { acknowledgedBy, listedUsers, metricOf, sendTo } from '../../rest';
import type { Outcome, Scenario } from '../../scenario';
import { withSlack } from '../../slack';
import { pace, until } from '../../until';
import { hasGot, placesOf, type Visitor, visit } from '../../visitor';

const PING_INTERVAL_MS = 500;
const PING_TIMEOUT_MS = 500;
const GRACE_MS = 100;
/** Added by a busy machine and by the interval of polling. */
const SLACK_MS = 500;
const PATIENCE_MS = 30_000;
const TALK_EVERY_MS = 50;
const ENV = {
  PING_INTERVAL_MS: String(PING_INTERVAL_MS),
  PING_TIMEOUT_MS: String(PING_TIMEOUT_MS),
  PRESENCE_GRACE_MS: String(GRACE_MS),
};
const DEVICE = 'phone';

interface Scene {
  readonly findings: Findings;
  readonly random: Random;
  readonly node: ChaosNode;
  /** Watches presence. */
  readonly watcher: Visitor;
}

/** A user who will vanish, behind a separate proxy. */
interface Victim {
  readonly way: Way;
  readonly userId: string;
  readonly proxy: TcpProxy;
}

/** How the user comes, and what then happens to the path. */
interface Vanishing {
  readonly ways: readonly Way[];
  readonly come: (victim: Victim) => Promise<void>;
  readonly vanish: (proxy: TcpProxy) => void;
}

/** Over all transports at once, each beside a user who stays. */
async function runVanishing(random: Random, { ways, come, vanish }: Vanishing): Promise<Outcome> {
  const node = await startOne({ env: ENV });
  return examine([node], async (findings) => {
    const watcher = await visit('websocket', node.url, { userId: 'watcher' });
    await watcher.client.call('presence:subscribe');
    const staying = await Promise.all(
      WAYS.map((way) => visit(way, node.url, { userId: `stays, ${way}`, device: DEVICE })),
    );
    const scene = { findings, random, node, watcher };
    const lose = async (way: Way) => {
      const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(node.url).port) }, random);
      const victim = { way, userId: `goes, ${way}`, proxy };
      await come(victim);
      // At any moment between two heartbeats.
      await pace(random.integer(0, PING_INTERVAL_MS));
      vanish(proxy);
      return [`ms until closed, ${way}`, await followVanished(scene, victim)] as const;
    };
    const times = await Promise.all(ways.map(lose));
    await expectStaying(scene, staying);
    return Object.fromEntries(times);
  });
}

/** @returns how long the node took to notice. */
async function followVanished(scene: Scene, victim: Victim): Promise<number> {
  const { findings, node, watcher } = scene;
  const { way, userId, proxy } = victim;
  const vanishedAt = performance.now();
  const { id, topic, seq } = await sendTo(node.url, userId, { way });
  await until(
    `${userId} is listed no more`,
    PATIENCE_MS,
    () => listedUsers(node.url),
    (users) => !users.includes(userId),
  );
  const milliseconds = Math.round(performance.now() - vanishedAt);
  const longest = withSlack(PING_INTERVAL_MS + PING_TIMEOUT_MS + SLACK_MS);
  findings.expect(
    milliseconds <= longest,
    `${userId} was listed for ${milliseconds} ms, at most ${longest} are allowed`,
  );
  findings.expect(milliseconds >= PING_TIMEOUT_MS / 2, `${userId} had only ${milliseconds} ms to answer`);
  const { up, down } = proxy.counts.lostBytes;
  findings.expect(up + down > 0, `nothing was tried: nothing was on its way to or from ${userId}`);
  const left = () => leftIn(watcher);
  await until(`the lobby is told that ${userId} left`, PATIENCE_MS, left, (users) => users.includes(userId));
  findings.expectSame(await acknowledgedBy(node.url, id), [], `what was sent to ${userId} is acknowledged`);
  // From elsewhere: the first path is as dead as it was.
  const back = await visit(way, node.url, { userId, device: DEVICE });
  await back.client.next('sync:done');
  await hasGot(back, 1);
  findings.expectSame(placesOf(back), [`${seq} ${id}`], `${userId} has got, coming back`);
  await back.client.call('ack', { topic, seq });
  const acked = () => acknowledgedBy(node.url, id);
  await until('its acknowledgement counts', PATIENCE_MS, acked, (devices) => devices.includes(DEVICE));
  return milliseconds;
}

/** Who has left, as presence reported it: one by one or several at once. */
async function leftIn({ client }: Visitor): Promise<unknown[]> {
  const left = framesOf(client).filter(({ event }) => event === 'presence:leave');
  return left.flatMap(({ payload }) => (payload['users'] as unknown[] | undefined) ?? [payload['userId']]);
}

/** Clients that answer stay, and the node holds no other connection. */
async function expectStaying({ findings, node, watcher }: Scene, staying: readonly Visitor[]): Promise<void> {
  for (const visitor of [watcher, ...staying]) {
    findings.expect(visitor.isOpen(), `${visitor.userId} was closed, though it answers`);
    if (visitor.isOpen()) await visitor.client.settle();
  }
  const left = await leftIn(watcher);
  findings.expect(!staying.some(({ userId }) => left.includes(userId)), `the lobby was told ${left.join(', ')}`);
  const counted = async () => {
    const [sockets, plain] = await Promise.all(
      ['socketio', 'plain'].map((name) => metricOf(node.url, `tidings_connections{transport="${name}"}`)),
    );
    return `${sockets} ${plain}`;
  };
  // The watcher, and for each transport one who stayed and one who came back, if any left.
  const back = (await listedUsers(node.url)).filter((userId) => String(userId).startsWith('goes'));
  const plain = 1 + back.filter((userId) => userId === 'goes, plain').length;
  findings.expectSame(
    await counted(),
    `${1 + 2 + back.length - (plain - 1)} ${plain}`,
    'connections, Socket.IO and plain',
  );
}

async function comeAsLibrary({ way, userId, proxy }: Victim): Promise<void> {
  const visitor = await visit(way, proxy.url, { userId, device: DEVICE });
  await visitor.client.next('sync:done');
}

/**
 * A client that never misses the server, and keeps sending. Socket.IO libraries would notice that they receive nothing.
 */
async function comeTalking({ way, userId, proxy }: Victim): Promise<void> {
  const token = testToken(userId);
  if (way === 'websocket') {
    const raw = await openRawSocket(proxy.url);
    await raw.join(token, DEVICE);
    talk(() => raw.send('42["ping"]'));
    return;
  }
  const plain = openPlain(proxy.url, { path: `/ws?device=${DEVICE}`, headers: { Authorization: `Bearer ${token}` } });
  await plain.next('sync:done');
  talk(() => {
    if (!plain.isClosed) plain.send({ action: 'ping' });
  });
}

function talk(say: () => void): void {
  const timer = setInterval(say, TALK_EVERY_MS);
  onTestEnd(() => clearInterval(timer));
}

const EXPECTED = `closed within PING_INTERVAL_MS + PING_TIMEOUT_MS, and offline in all lists; what was sent meanwhile is unacknowledged and comes on the next connect; clients that answer stay`;
const TELLS = WAYS.map((way) => `ms until closed, ${way}`);

export const GONE: readonly Scenario[] = [
  {
    id: 'F9',
    fault: 'a client is gone without FIN',
    injected: `a proxy that falls silent in both directions: Socket.IO over WebSocket and polling, plain; heartbeat ${PING_INTERVAL_MS} + ${PING_TIMEOUT_MS} ms`,
    expected: EXPECTED,
    needs: [],
    tells: TELLS,
    run: (random) => runVanishing(random, { ways: WAYS, come: comeAsLibrary, vanish: (proxy) => proxy.hang() }),
  },
  {
    id: 'F10',
    fault: 'a connection is half-open',
    injected: `a proxy that drops what the node says, while the client continues to send: Socket.IO and plain; heartbeat ${PING_INTERVAL_MS} + ${PING_TIMEOUT_MS} ms`,
    expected: EXPECTED,
    needs: [],
    tells: TELLS.filter((name) => !name.includes('polling')),
    run: (random) =>
      runVanishing(random, { ways: ['websocket', 'plain'], come: comeTalking, vanish: (proxy) => proxy.lose('down') }),
  },
];
