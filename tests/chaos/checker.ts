/**
 * Checks a history when everything has ended and every device has had the time to catch up. Each returned sentence
 * begins with the invariant that was broken.
 */
import { type Accepted, type Delivery, type DeviceOf, type History, nameOf, type Place } from './history';

/** A message in the inbox of a user. */
export interface Held extends Place {
  readonly key: string;
}

export interface Case {
  readonly history: History;
  /** All devices that were connected before the first send. */
  readonly devices: readonly DeviceOf[];
  /** The users who receive messages of a topic; none for a topic without members. */
  readonly recipientsOf: (topic: string) => readonly string[];
  /** The content of GET /inbox at the end, by user. */
  readonly held: ReadonlyMap<string, readonly Held[]>;
  /**
   * Did connections break with something in flight? What was written to a client without a device is not written again
   * (promise 6): it may miss some at the beginning of a connection. Nobody else may.
   */
  readonly hasLostBuffers?: boolean;
}

export function judge(one: Case): string[] {
  return [
    ...findLost(one),
    ...findDoubled(one),
    ...one.devices.flatMap((device) => findDisorder(one, device)),
    ...findForeign(one),
    ...findRepeatedSends(one),
    ...one.history.complaints,
  ];
}

/** I1: what was answered 2xx has reached every device of its recipients, or will when it reconnects. */
function findLost({ history, devices, recipientsOf, held, hasLostBuffers }: Case): string[] {
  const sentences: string[] = [];
  for (const device of devices) {
    if (hasLostBuffers === true && device.device === undefined) continue;
    const ids = new Set(deliveriesTo(history, device).map(({ id }) => id));
    const waiting = new Set((held.get(device.userId) ?? []).filter(isBeyond(cursorsOf(history, device))).map(idOf));
    for (const { id, topic, seq } of distinct(history.accepted)) {
      if (!recipientsOf(topic).includes(device.userId) || ids.has(id) || waiting.has(id)) continue;
      sentences.push(`I1: ${nameOf(device)} has lost ${topic} ${seq} (${id}), which was answered 2xx`);
    }
  }
  return sentences;
}

/** What comes on the next connect: a message below a device's cursor never will. */
function isBeyond(cursors: ReadonlyMap<string, number>): (message: Held) => boolean {
  return ({ topic, seq }) => seq > (cursors.get(topic) ?? 0);
}

/** A device's position: what it has acknowledged, or what was written to it if it never does. */
function cursorsOf(history: History, device: DeviceOf): Map<string, number> {
  const moves = device.device === undefined ? history.deliveries : history.acks;
  const cursors = new Map<string, number>();
  for (const { topic, seq, ...who } of moves) {
    if (isSame(who, device)) cursors.set(topic, Math.max(seq, cursors.get(topic) ?? 0));
  }
  return cursors;
}

/** I2: an intent is one message with one id at one position, and a position holds one message, for every reader. */
function findDoubled({ history, held }: Case): string[] {
  const seen = [...history.accepted, ...history.deliveries, ...[...held.values()].flat()];
  return [
    ...conflicts(seen, 'I2: the intent', ({ key }) => key, placeOf),
    ...conflicts(
      seen,
      'I2: the id',
      ({ id }) => id,
      ({ topic, seq }) => `${topic} ${seq}`,
    ),
    ...conflicts(seen, 'I2: the place', ({ topic, seq }) => `${topic} ${seq}`, idOf),
  ];
}

/** Names with more than one meaning. */
function conflicts<One>(
  all: readonly One[],
  what: string,
  nameIn: (one: One) => string,
  meaningIn: (one: One) => string,
): string[] {
  const meanings = new Map<string, Set<string>>();
  for (const one of all) {
    const name = nameIn(one);
    meanings.set(name, (meanings.get(name) ?? new Set()).add(meaningIn(one)));
  }
  return [...meanings]
    .filter(([, different]) => different.size > 1)
    .map(([name, different]) => `${what} ${name} has become ${[...different].join(' and ')}`);
}

/**
 * I3: on a connection, each message is the next one after the message before; a new connection may begin with messages
 * that came before, and never further on. So nothing is left out, and what is new to a device comes in order.
 */
function findDisorder({ history, hasLostBuffers }: Case, device: DeviceOf): string[] {
  const maySkip = hasLostBuffers === true && device.device === undefined;
  const sentences: string[] = [];
  const last = new Map<string, { connection: number; seq: number; newest: number }>();
  for (const { topic, seq, connection } of deliveriesTo(history, device)) {
    const before = last.get(topic) ?? { connection: 0, seq: 0, newest: 0 };
    const isFirst = before.connection !== connection;
    const isRight = isFirst ? maySkip || seq <= before.newest + 1 : seq === before.seq + 1;
    if (!isRight) {
      const where = isFirst ? `as the first of connection ${connection}` : `on connection ${connection}`;
      const previous = isFirst ? before.newest : before.seq;
      sentences.push(`I3: ${nameOf(device)} got ${topic} ${seq} after ${previous}, ${where}`);
    }
    last.set(topic, { connection, seq, newest: Math.max(before.newest, seq) });
  }
  return sentences;
}

/** I4: nobody receives what belongs to another, or what nobody has sent. */
function findForeign({ history, recipientsOf }: Case): string[] {
  const topics = new Map(history.tries.map(({ key, topic }) => [key, topic]));
  const sentences: string[] = [];
  for (const delivery of history.deliveries) {
    const { userId, topic, seq, key } = delivery;
    const got = `I4: ${nameOf(delivery)} got ${topic} ${seq}`;
    if (!recipientsOf(topic).includes(userId)) sentences.push(`${got}, which is not theirs`);
    if (topics.get(key) !== topic) sentences.push(`${got}, where nobody has said “${key}”`);
  }
  return sentences;
}

/** I5: however often a send was tried under its key, it was answered in one way, and its message exists once. */
function findRepeatedSends({ history, recipientsOf, held }: Case): string[] {
  const answers = conflicts(history.accepted, 'I5: the key', ({ key }) => key, placeOf);
  const answered = new Set(history.accepted.map(({ key }) => key));
  const unanswered = distinct(history.tries).filter(({ key }) => !answered.has(key));
  return [
    ...answers,
    ...unanswered.map(({ key }) => `I5: the key ${key} was never answered`),
    ...[...held].flatMap(([userId, messages]) => {
      const expected = distinct(history.accepted).filter(({ topic }) => recipientsOf(topic).includes(userId));
      return findMiscounted(userId, messages, expected);
    }),
  ];
}

function findMiscounted(userId: string, messages: readonly Held[], expected: readonly Accepted[]): string[] {
  const counts = new Map<string, number>();
  for (const { key } of messages) counts.set(key, (counts.get(key) ?? 0) + 1);
  return expected
    .filter(({ key }) => counts.get(key) !== 1)
    .map(({ key, id }) => `I5: the inbox of ${userId} has ${counts.get(key) ?? 0} messages of the key ${key} (${id})`);
}

function deliveriesTo(history: History, device: DeviceOf): Delivery[] {
  return history.deliveries.filter((delivery) => isSame(delivery, device));
}

function isSame(one: DeviceOf, other: DeviceOf): boolean {
  return one.userId === other.userId && one.device === other.device;
}

function idOf({ id }: Place): string {
  return id;
}

function placeOf({ id, topic, seq }: Place): string {
  return `${topic} ${seq} (${id})`;
}

/** One of each key. */
function distinct<One extends { readonly key: string }>(all: readonly One[]): One[] {
  return [...new Map(all.map((one) => [one.key, one])).values()];
}
