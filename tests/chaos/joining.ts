/**
 * Nothing is lost, repeated or reordered while connections join growing topics: Delivery on a real store in which every
 * step is delayed. A seed repeats the delays, not the timing of the disk.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BROADCAST_TOPIC, DEFAULT_DEVICE, personalTopic } from '../../utils/topic-names';
import type { Random } from '../support/random';
import { range } from '../support/service';
import { type Attached, attach, type Desk, draftOf, openDesk } from '../support/slow-delivery';
import type { Outcome } from './scenario';

const FEW_TURNS = 4;
/** One delay in ten is long enough for several other steps to overtake. */
const MANY_TURNS = 30;
/** They take turns: some logs are short, some have been read before. */
const USERS = 5;

/** What the node and the store have at this moment: where a message was lost. */
async function describeNode(
  { delivery, store }: Desk,
  connection: Attached['connection'],
  topic: string,
  after: number,
): Promise<string> {
  const page = await store.log.read(topic, { after, limit: 9 });
  return JSON.stringify({
    stored: page.messages.map(({ seq, from }) => [seq, from]),
    isOpen: connection.isOpen,
    isFollowing: delivery.isFollowing(connection, topic),
    isMember: [...delivery.membersOf(topic)].includes(connection),
    events: connection.events,
    balance: delivery.balance,
  });
}

/** Every seq from the start on, once, in order: up to the head, or for a closed connection up to some seq. */
async function judge(desk: Desk, { connection, start }: Attached): Promise<string[]> {
  const sentences: string[] = [];
  for (const [topic, { seq: from }] of await start) {
    const seqs = connection.received(topic);
    const to = connection.isOpen ? await desk.store.log.head(topic) : from + seqs.length;
    const expected = range(from + 1, to);
    if (seqs.join(' ') === expected.join(' ')) continue;
    sentences.push(
      `a connection of ${connection.device} saw ${topic} ${seqs.join(' ')}, expected ${expected.join(' ')}; ` +
        (await describeNode(desk, connection, topic, from)),
    );
  }
  return sentences;
}

function turnsOf(random: Random): () => Promise<void> {
  return async () => {
    const most = random.integer(0, 9) === 0 ? MANY_TURNS : FEW_TURNS;
    for (let turns = random.integer(0, most); turns > 0; turns -= 1) await nextTurn();
  };
}

interface Scene {
  joins: number;
  readonly desk: Desk;
  readonly random: Random;
  readonly pause: () => Promise<void>;
}

function openScene(random: Random): Scene {
  const pause = turnsOf(random);
  return { desk: openDesk(pause), random, pause, joins: 0 };
}

/** Connections come and go while messages are published; `publish` makes one message. */
async function playRound(
  scene: Scene,
  userId: string,
  publish: (topic: string) => Promise<unknown>,
): Promise<string[]> {
  const { desk, random, pause } = scene;
  const topics = [personalTopic(userId), BROADCAST_TOPIC];
  const attached: Attached[] = [];
  const come = async () => {
    await pause();
    const device = [DEFAULT_DEVICE, 'phone', 'laptop'][random.integer(0, 2)] ?? DEFAULT_DEVICE;
    const one = attach(desk, userId, device);
    attached.push(one);
    scene.joins += 1;
    await pause();
    await pause();
    if (random.integer(0, 3) === 0) one.connection.close();
    await one.done;
  };
  const say = async () => {
    await pause();
    await publish(topics[random.integer(0, 1)] ?? BROADCAST_TOPIC);
  };
  const acts = [
    ...range(1, random.integer(2, 4)).map(() => come()),
    ...range(1, random.integer(3, 9)).map(() => say()),
  ];
  await Promise.all(acts.map((act) => desk.activity.track(act)));
  await desk.activity.end();
  const sentences: string[] = [];
  for (const one of attached) sentences.push(...(await judge(desk, one)));
  for (const { connection } of attached) connection.close();
  return sentences;
}

/** `areOthersHere`: every other message is appended by another node, which publishes no hint. */
export async function runJoining(random: Random, rounds: number, areOthersHere: boolean): Promise<Outcome> {
  const scene = openScene(random);
  const { delivery, store, log } = scene.desk;
  const violations: string[] = [];
  let published = 0;
  for (let round = 0; round < rounds; round += 1) {
    const said = await playRound(scene, `user ${round % USERS}`, async (topic) => {
      published += 1;
      if (areOthersHere && random.integer(0, 1) === 0) await store.log.append(draftOf(topic));
      return delivery.publish(draftOf(topic));
    });
    violations.push(...said);
  }
  violations.push(...log.errors().map((error) => `logged: ${JSON.stringify(error)}`));
  return { violations, figures: { joins: scene.joins, messages: published } };
}
