/** What this node has emitted, and what it has not: each order of steps by hand. At random: tests/chaos/joining.ts. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Appended, Cursor } from '../../../services/storage/contract';
import type { Message } from '../../../utils/protocol';
import { BROADCAST_TOPIC, DEFAULT_DEVICE, personalTopic } from '../../../utils/topic-names';
import { StillClock } from '../../support/clock';
import { range } from '../../support/service';
import {
  type Attached,
  attach,
  type Desk,
  draftOf,
  openDesk,
  type Pause,
  type Step,
} from '../../support/slow-delivery';

/** Holds chosen steps until they are let go; all others go through. */
class Gate {
  readonly #held: {
    readonly step: Step;
    readonly when: 'before' | 'after';
    arrived: () => void;
    opened: Promise<void>;
  }[] = [];

  readonly pause: Pause = async (step, when) => {
    const index = this.#held.findIndex((one) => one.step === step && one.when === when);
    const [held] = index < 0 ? [] : this.#held.splice(index, 1);
    held?.arrived();
    await held?.opened;
  };

  /** Holds the next such step. `arrived` resolves when it has reached the gate; `open` releases it. */
  hold(step: Step, when: 'before' | 'after'): { arrived: Promise<void>; open: () => void } {
    let arrive: () => void = () => undefined;
    let open: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#held.push({ step, when, arrived: arrive, opened });
    return { arrived, open };
  }
}

const ANNA = personalTopic('anna');
const ANNA_IN = { topic: 'sea', userId: 'anna', isMember: true } as const;

async function openWithMember(gate: Gate): Promise<Desk & { member: Attached }> {
  const desk = openDesk(gate.pause);
  const member = attach(desk, 'anna', DEFAULT_DEVICE);
  await member.done;
  return { ...desk, member };
}

function entryOf(appended: Appended): Message {
  if (appended.outcome !== 'stored') throw new Error(`it was not stored: ${appended.outcome}`);
  return appended.message;
}

describe('a gap in what this node has emitted', () => {
  it('is filled from the store before the next message', async () => {
    const desk = await openWithMember(new Gate());
    const second = attach(desk, 'anna', 'phone');
    await second.done;
    await desk.store.log.append(draftOf(ANNA));
    await desk.delivery.publish(draftOf(ANNA));
    await desk.activity.end();
    for (const { connection } of [desk.member, second]) expect(connection.received(ANNA)).toEqual([1, 2]);
  });

  it('is filled, however long it is', async () => {
    const desk = await openWithMember(new Gate());
    await Promise.all(range(1, 1_000).map(() => desk.store.log.append(draftOf(ANNA))));
    await desk.delivery.publish(draftOf(ANNA));
    await desk.activity.end();
    expect(desk.member.connection.received(ANNA)).toEqual(range(1, 1_001));
  });

  it('is filled when it appears while another one is being filled', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.log.append(draftOf(ANNA));
    const reading = gate.hold('read', 'after');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    // The store was read up to 2, and the page is on its way; 3 comes from another node.
    await desk.store.log.append(draftOf(ANNA));
    await desk.delivery.publish(draftOf(ANNA));
    reading.open();
    await desk.activity.end();
    expect(desk.member.connection.received(ANNA)).toEqual(range(1, 4));
  });

  it.each(range(0, 12))('is filled when it shows %i steps after the store was read', async (steps) => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    const foreign = () => desk.store.log.append(draftOf(BROADCAST_TOPIC));
    await foreign();
    const reading = gate.hold('read', 'after');
    await desk.delivery.publish(draftOf(BROADCAST_TOPIC));
    await reading.arrived;
    await foreign();
    const entry = entryOf(await foreign());
    reading.open();
    for (let step = 0; step < steps; step += 1) await Promise.resolve();
    await desk.delivery.receive({ kind: 'entries', entries: [entry] });
    await desk.activity.end();
    expect(desk.member.connection.received(BROADCAST_TOPIC)).toEqual(range(1, 4));
  });

  it('is filled once, for connections that arrived meanwhile too', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.log.append(draftOf(ANNA));
    const reading = gate.hold('read', 'before');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    const late = attach(desk, 'anna', 'phone');
    await late.done;
    reading.open();
    await desk.activity.end();
    for (const { connection } of [desk.member, late]) expect(connection.received(ANNA)).toEqual([1, 2]);
  });

  it('is dropped when those who saw it have gone', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.log.append(draftOf(ANNA));
    const reading = gate.hold('read', 'after');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    desk.member.connection.close();
    const next = attach(desk, 'anna', 'phone');
    await next.done;
    reading.open();
    await desk.activity.end();
    expect(next.connection.received(ANNA)).toEqual([1, 2]);
    expect(desk.member.connection.received(ANNA)).toEqual([]);
  });
});

/** A topic that these users are in. */
async function createSea({ store }: Pick<Desk, 'store'>, ...userIds: readonly string[]): Promise<void> {
  await store.topics.create({ name: 'sea', isPrivate: false, owner: 'owner', createdAt: '' }, 10);
  for (const userId of userIds) await store.topics.addMember('sea', { userId, joinedAt: '' }, 10);
}

/** Steps that fail, each once for each time it is named. */
class Faults {
  readonly #steps: Step[] = [];

  readonly pause: Pause = async (step, when) => {
    if (when !== 'before') return;
    const index = this.#steps.indexOf(step);
    if (index < 0) return;
    this.#steps.splice(index, 1);
    throw new Error(`${step} fails on purpose`);
  };

  next(...steps: readonly Step[]): void {
    this.#steps.push(...steps);
  }
}

describe('a store that fails', () => {
  async function open() {
    const faults = new Faults();
    const clock = new StillClock();
    const desk = openDesk(faults.pause, clock);
    const member = attach(desk, 'anna', DEFAULT_DEVICE);
    await member.done;
    return { ...desk, faults, clock, member: member.connection };
  }

  it('to count keeps no message back', async () => {
    const { delivery, faults, member } = await open();
    delivery.recountHere();
    faults.next('counts');
    await delivery.publish(draftOf(ANNA));
    expect(member.received(ANNA)).toEqual([1]);
  });

  it('to count in time keeps no message back', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    desk.delivery.recountHere();
    const counting = gate.hold('counts', 'before');
    await desk.delivery.publish(draftOf(ANNA));
    expect(desk.member.connection.received(ANNA)).toEqual([1]);
    counting.open();
  });

  it('to read a gap is asked again when its time has come, and later each time', async () => {
    const { delivery, store, faults, member, clock, activity } = await open();
    await store.log.append(draftOf(ANNA));
    faults.next('read', 'read');
    await delivery.publish(draftOf(ANNA));
    await activity.end();
    for (const waitMs of [250, 500]) {
      clock.shift(waitMs - 1);
      delivery.healGaps();
      await activity.end();
      expect(member.received(ANNA)).toEqual([]);
      clock.shift(1);
      delivery.healGaps();
      await activity.end();
    }
    expect(member.received(ANNA)).toEqual([1, 2]);
    expect(delivery.balance).toMatchObject({ gaps: 0 });
  });

  it('to read the head of a topic is asked again by the next connection', async () => {
    const { store, delivery, faults, activity, ...desk } = await open();
    const other = attach({ store, delivery, activity, ...desk }, 'ben', 'phone').connection;
    await activity.end();
    await createSea({ store }, 'anna', 'ben');
    faults.next('head');
    await expect(delivery.follow(other, 'sea')).rejects.toThrow('on purpose');
    expect(delivery.isFollowing(other, 'sea')).toBe(false);
    await delivery.follow(desk.member, 'sea');
    await delivery.follow(other, 'sea');
    await delivery.publish(draftOf('sea'));
    for (const connection of [desk.member, other]) expect(connection.received('sea')).toEqual([1]);
  });

  it.each(['openDevice', 'head', 'read'] as const)(
    'at %s while memberships are compared is asked again',
    async (step) => {
      const { store, delivery, faults, member, activity } = await open();
      await createSea({ store }, 'anna');
      await store.log.append(draftOf('sea'));
      faults.next(step);
      delivery.compareMemberships([ANNA_IN, { ...ANNA_IN, userId: 'nobody' }]);
      const check = delivery.checkFollowing();
      if (step === 'openDevice') await expect(check).rejects.toThrow('on purpose');
      else await check;
      await activity.end();
      expect(delivery.isFollowing(member, 'sea')).toBe(false);
      await delivery.checkFollowing();
      await activity.end();
      expect(member.received('sea')).toEqual([1]);
      delivery.compareMemberships([ANNA_IN]);
      expect(delivery.balance).toMatchObject({ doubtedUsers: 0 });
      await store.topics.removeMember('sea', 'anna');
      delivery.compareMemberships([{ ...ANNA_IN, isMember: false }]);
      await delivery.checkFollowing();
      expect(delivery.isFollowing(member, 'sea')).toBe(false);
      expect(delivery.balance).toMatchObject({ doubtedUsers: 0 });
    },
  );
});

describe('memberships that change while they are compared', () => {
  it('are read again', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    const { delivery, store } = desk;
    const { connection } = desk.member;
    await createSea({ store });
    const opening = gate.hold('openDevice', 'after');
    delivery.compareMemberships([ANNA_IN]);
    const check = delivery.checkFollowing();
    await opening.arrived;
    // What was read does not know of it.
    await store.topics.addMember('sea', { userId: 'anna', joinedAt: '' }, 10);
    await delivery.follow(connection, 'sea');
    opening.open();
    await check;
    expect(delivery.isFollowing(connection, 'sea')).toBe(true);
  });

  it('while a connection comes in, too', async () => {
    const gate = new Gate();
    const desk = openDesk(gate.pause);
    const { delivery, store } = desk;
    await store.devices.open('anna', 'phone');
    await createSea({ store }, 'anna');
    const opening = gate.hold('openDevice', 'after');
    const { connection, done } = attach(desk, 'anna', 'phone');
    await opening.arrived;
    await store.topics.removeMember('sea', 'anna');
    delivery.unfollow(connection, 'sea');
    opening.open();
    await done;
    expect(delivery.isFollowing(connection, 'sea')).toBe(false);
  });
});

describe('a topic that is left and rejoined', () => {
  it('is caught up once', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    const { delivery } = desk;
    const other = attach(desk, 'ben', 'phone');
    await other.done;
    await createSea(desk, 'anna', 'ben');
    await Promise.all(range(1, 3).map(() => desk.store.log.append(draftOf('sea'))));
    // Somebody else keeps the topic alive on this node.
    await delivery.follow(other.connection, 'sea');
    const { connection } = desk.member;
    const reading = gate.hold('read', 'after');
    const first = delivery.follow(connection, 'sea');
    await reading.arrived;
    delivery.unfollow(connection, 'sea');
    await delivery.follow(connection, 'sea');
    reading.open();
    await first;
    await delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual(range(1, 4));
  });

  it('delivers nothing from in between', async () => {
    const desk = await openWithMember(new Gate());
    const { connection } = desk.member;
    await createSea(desk, 'anna');
    await desk.delivery.follow(connection, 'sea');
    await desk.delivery.publish(draftOf('sea'));
    await desk.store.topics.removeMember('sea', 'anna');
    desk.delivery.unfollow(connection, 'sea');
    await desk.delivery.publish(draftOf('sea'));
    await desk.store.topics.addMember('sea', { userId: 'anna', joinedAt: '' }, 10);
    await desk.delivery.follow(connection, 'sea');
    await desk.delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual([1, 3]);
  });
});

describe('the cursor of a device', () => {
  it('is the newest one, even while it is being written', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await Promise.all(range(1, 3).map(() => desk.delivery.publish(draftOf(ANNA))));
    desk.member.connection.close();
    // The cursor is in memory when the store is asked, and in the store when the answer comes.
    const opening = gate.hold('openDevice', 'after');
    const again = attach(desk, 'anna', DEFAULT_DEVICE);
    await opening.arrived;
    await desk.cursors.flush();
    opening.open();
    await again.done;
    expect(again.connection.received(ANNA)).toEqual([]);
  });

  it('is not lost by a write that fails', async () => {
    const desk = await openWithMember(new Gate());
    const cursor: Cursor = { userId: 'anna', device: DEFAULT_DEVICE, topic: ANNA, seq: 2, at: 1 };
    await Promise.all(range(1, 3).map(() => desk.store.log.append(draftOf(ANNA))));
    desk.member.connection.close();
    desk.cursors.advance(cursor);
    const { saveCursors } = desk.store.devices;
    desk.store.devices.saveCursors = () => Promise.reject(new Error('refused on purpose'));
    await desk.cursors.flush();
    desk.store.devices.saveCursors = saveCursors;
    expect((await desk.cursors.open('anna', DEFAULT_DEVICE)).get(ANNA)?.seq).toBe(2);
    await desk.cursors.flush();
    expect((await desk.store.devices.open('anna', DEFAULT_DEVICE)).get(ANNA)?.seq).toBe(2);
  });

  it('is found in time, however often others are written meanwhile', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await Promise.all(range(1, 3).map(() => desk.store.log.append(draftOf(ANNA))));
    const opening = gate.hold('openDevice', 'after');
    const opened = desk.cursors.open('anna', DEFAULT_DEVICE);
    await opening.arrived;
    for (const seq of range(1, 3)) {
      desk.cursors.advance({ userId: 'anna', device: DEFAULT_DEVICE, topic: ANNA, seq });
      await desk.cursors.flush();
    }
    opening.open();
    expect((await opened).get(ANNA)?.seq).toBe(3);
  });
});

describe('when the last connection of a user ended', () => {
  it('is kept for users who leave while others are written', async () => {
    const desk = await openWithMember(new Gate());
    await desk.store.devices.open('ben', DEFAULT_DEVICE);
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { saveLastSeen } = desk.store.users;
    desk.store.users.saveLastSeen = async (times) => {
      const asked = new Map(times);
      await opened;
      await saveLastSeen(asked);
    };
    desk.cursors.sawLast('anna', 1);
    const first = desk.cursors.flush();
    await nextTurn();
    desk.cursors.sawLast('ben', 2);
    desk.cursors.sawLast('anna', 3);
    expect(await desk.cursors.lastSeen('ben')).toBe(2);
    open();
    await first;
    await desk.cursors.flush();
    expect((await desk.store.users.get('ben'))?.lastSeenAt).toBe(2);
    expect((await desk.store.users.get('anna'))?.lastSeenAt).toBe(3);
  });
});

it('follows nothing for a connection that ended before its cursors were read', async () => {
  const gate = new Gate();
  const desk = openDesk(gate.pause);
  const reading = gate.hold('openDevice', 'after');
  const { connection, done } = attach(desk, 'anna', 'phone');
  await reading.arrived;
  // As when its TCP connection cannot be written to any more, and is not closed yet.
  desk.delivery.detach(connection);
  reading.open();
  await done;
  expect(desk.delivery.balance).toMatchObject({ sessions: 0, followedTopics: 0 });
});

describe('a topic that is dropped late, and was created again meanwhile', () => {
  it.each([DEFAULT_DEVICE, 'phone'])('brings device %s nothing twice on one connection', async (device) => {
    const desk = openDesk(new Gate().pause);
    await createSea(desk, 'anna');
    const { connection, done } = attach(desk, 'anna', device);
    await done;
    await desk.delivery.publish(draftOf('sea'));
    await desk.delivery.drop('sea');
    await desk.delivery.follow(connection, 'sea');
    await desk.delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual([1, 2]);
  });
});
