/** Acknowledgements that are lost or impossible; and the cursors of several devices. */
import type { Random } from '../../../support/random';
import { testToken } from '../../../support/service';
import { startTcpProxy } from '../../../support/tcp-proxy';
import { examine, type Findings } from '../../findings';
import type { Place } from '../../history';
import { WAYS, type Way } from '../../line';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { acknowledgedBy, ask, sendMany } from '../../rest';
import type { Figures, Outcome, Scenario } from '../../scenario';
import { until } from '../../until';
import { comeBack, hasGot, placesOf, visit, written } from '../../visitor';

const PATIENCE_MS = 30_000;
const DEVICE = 'phone';

interface AckScene {
  readonly findings: Findings;
  readonly random: Random;
  readonly node: ChaosNode;
  readonly way: Way;
  readonly userId: string;
}

/** The same over each transport, at the same time. */
async function runOverAll(random: Random, act: (scene: AckScene) => Promise<Figures>): Promise<Outcome> {
  const node = await startOne();
  return examine([node], async (findings) => {
    const acts = WAYS.map((way) => act({ findings, random, node, way, userId: `anna, ${way}` }));
    const figures = await Promise.all(acts);
    return Object.assign({}, ...figures) as Figures;
  });
}

const SENT = 12;

/** Everything is received and acknowledged, some of the acknowledgements are lost, and the connection with them. */
async function loseAcks({ findings, random, node, way, userId }: AckScene): Promise<Figures> {
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(node.url).port) }, random);
  const first = await visit(way, proxy.url, { userId, device: DEVICE });
  await first.client.next('sync:done');
  const places = await sendMany(node.url, userId, SENT);
  await hasGot(first, SENT);
  const arrived = random.integer(0, SENT - 1);
  if (arrived > 0) await first.client.call('ack', { topic: `@${userId}`, seq: arrived });
  proxy.lose('up');
  // The replies to this would travel on a lost path.
  void first.client.call('ack', { topic: `@${userId}`, seq: SENT }).catch(() => undefined);
  await until(
    'the ack is lost',
    PATIENCE_MS,
    async () => proxy.counts.lostBytes.up,
    (bytes) => bytes > 0,
  );
  proxy.restore();
  await first.ended;
  const again = await comeBack(node, way, userId);
  findings.expectSame(placesOf(again), written(places.slice(arrived)), `${userId} has got again`);
  await again.client.call('ack', { topic: `@${userId}`, seq: SENT });
  again.client.close();
  const last = await comeBack(node, way, userId);
  findings.expectSame(placesOf(last), [], `${userId} has got although it had acknowledged`);
  return { [`acks that arrived, ${way}`]: arrived };
}

/** One more would end a plain connection. */
const MAX_IN_A_ROW = 9;
/** What no client of ours would send. `seq` and `topic` are filled in if omitted. */
const WRONG_ACKS: readonly [name: string, ack: Readonly<Record<string, unknown>>][] = [
  ['of the future', { seq: 99 }],
  ['just ahead', { seq: 4 }],
  ['of another user', { topic: '@somebody' }],
  ['of a topic that nobody has', { topic: 'nowhere' }],
  ['of a topic that is not followed', { topic: 'closed' }],
  ['of a negative seq', { seq: -1 }],
  ['of half a seq', { seq: 1.5 }],
  ['of a text', { seq: '3' }],
  ['of nothing', { seq: null }],
  ['of what JSON cannot say', { seq: Number.MAX_VALUE }],
  ['of a list', { seq: [3] }],
];

async function lieInAcks({ findings, node, way, userId }: AckScene): Promise<Figures> {
  const places = await sendMany(node.url, userId, 3);
  const visitor = await visit(way, node.url, { userId, device: DEVICE });
  await hasGot(visitor, 3);
  for (const [index, [name, wrong]] of WRONG_ACKS.entries()) {
    if (index % MAX_IN_A_ROW === 0) await visitor.client.call('ping');
    const reply = await visitor.client.call('ack', { topic: `@${userId}`, seq: 3, ...wrong });
    const code = reply.ok ? 'accepted' : reply.error.code;
    findings.expect(code === 'bad_request', `${userId}: an ack ${name} was ${code}`);
  }
  await visitor.client.settle();
  visitor.client.close();
  const again = await comeBack(node, way, userId);
  findings.expectSame(placesOf(again), written(places), `${userId} has got after acks that were refused`);
  for (const { id } of places) findings.expectSame(await acknowledgedBy(node.url, id), [], `${id} is acknowledged`);
  return {};
}

/** A private topic of this user, with a message in it. */
async function createTopic({ url }: ChaosNode, name: string, owner: string): Promise<void> {
  const topic = { name, isPrivate: true };
  await ask(`${url}/topics`, { method: 'POST', token: testToken(owner), body: topic });
  await ask(`${url}/topics/${name}/messages`, { method: 'POST', body: { type: 'chaos', data: {} } });
}

async function runLies(random: Random): Promise<Outcome> {
  const node = await startOne();
  return examine([node], async (findings) => {
    const theirs = await sendMany(node.url, 'somebody', 3);
    await createTopic(node, 'closed', 'somebody');
    await Promise.all(WAYS.map((way) => lieInAcks({ findings, random, node, way, userId: `anna, ${way}` })));
    const somebody = await comeBack(node, 'plain', 'somebody');
    const personal = somebody.client.allMessages.filter(({ topic }) => topic === '@somebody');
    findings.expectSame(written(personal as Place[]), written(theirs), 'somebody else has got');
    return { acks: WRONG_ACKS.length * WAYS.length };
  });
}

/** One device reads on while the other one is offline, and then they swap. */
async function takeTurns({ findings, random, node, way, userId }: AckScene): Promise<Figures> {
  const topic = `@${userId}`;
  const other = WAYS[(WAYS.indexOf(way) + 1) % WAYS.length] ?? 'plain';
  await (await comeBack(node, way, userId, 'phone')).client.close();
  await (await comeBack(node, other, userId, 'laptop')).client.close();
  const places: Place[] = [];
  const reached = { phone: 0, laptop: 0 };
  for (const device of ['phone', 'laptop', 'phone', 'phone', 'laptop'] as const) {
    const visitor = await visit(device === 'phone' ? way : other, node.url, { userId, device });
    await visitor.client.next('sync:done');
    findings.expectSame(
      placesOf(visitor),
      written(places.slice(reached[device])),
      `${userId}/${device} has got, coming back`,
    );
    places.push(...(await sendMany(node.url, userId, random.integer(1, 5))));
    await hasGot(visitor, places.length - reached[device]);
    findings.expectSame(
      placesOf(visitor),
      written(places.slice(reached[device])),
      `${userId}/${device} has got in all`,
    );
    reached[device] = random.integer(reached[device], places.length);
    if (reached[device] > 0) await visitor.client.call('ack', { topic, seq: reached[device] });
    visitor.client.close();
    await visitor.ended;
  }
  return { [`messages, ${way}`]: places.length };
}

export const ACKS: readonly Scenario[] = [
  {
    id: 'F14',
    fault: 'acknowledgements are lost',
    injected: 'a proxy that drops what clients send from a random message on, then resets: both transports and polling',
    expected: 'redelivered with the same id and seq from the last acknowledgement that arrived, and nothing else',
    needs: [],
    run: (random) => runOverAll(random, loseAcks),
  },
  {
    id: 'F16',
    fault: 'impossible acknowledgements',
    injected: `${WRONG_ACKS.length} acks of foreign and unknown topics, of the future, and without a valid seq: both transports and polling`,
    expected: 'each is refused, and moves nobody’s cursor',
    needs: [],
    tells: ['acks'],
    run: runLies,
  },
  {
    id: 'F18',
    fault: 'one of two devices is offline',
    injected: 'two devices of a user over different transports take turns, and acknowledge a random part',
    expected: 'each device continues from its own cursor',
    needs: [],
    run: (random) => runOverAll(random, takeTurns),
  },
];
