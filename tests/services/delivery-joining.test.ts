/** What this node has emitted, and what it has not: each order of steps by hand. At random: tests/chaos/joining.ts. */
import type { Cursor } from '../../services/storage/contract';
import { DEFAULT_DEVICE, personalTopic } from '../../utils/topic-names';
import { range } from '../support/service';
import { type Attached, attach, type Desk, draftOf, openDesk, type Pause, type Step } from '../support/slow-delivery';

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

  /** Holds the next such step. `arrived` resolves when it has come to the gate; `open` lets it go. */
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

async function openWithMember(gate: Gate): Promise<Desk & { member: Attached }> {
  const desk = openDesk(gate.pause);
  const member = attach(desk, 'anna', DEFAULT_DEVICE);
  await member.done;
  return { ...desk, member };
}

describe('a gap in what this node has emitted', () => {
  it('is filled from the store before the next message', async () => {
    const desk = await openWithMember(new Gate());
    const second = attach(desk, 'anna', 'phone');
    await second.done;
    await desk.store.append(draftOf(ANNA));
    await desk.delivery.publish(draftOf(ANNA));
    await desk.activity.end();
    for (const { connection } of [desk.member, second]) expect(connection.received(ANNA)).toEqual([1, 2]);
  });

  it('is filled, however long it is', async () => {
    const desk = await openWithMember(new Gate());
    await Promise.all(range(1, 1_000).map(() => desk.store.append(draftOf(ANNA))));
    await desk.delivery.publish(draftOf(ANNA));
    await desk.activity.end();
    expect(desk.member.connection.received(ANNA)).toEqual(range(1, 1_001));
  });

  it('is filled when it shows while another one is being filled', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.append(draftOf(ANNA));
    const reading = gate.hold('read', 'after');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    // The store was read up to 2, and the page is on its way; 3 comes from another node.
    await desk.store.append(draftOf(ANNA));
    await desk.delivery.publish(draftOf(ANNA));
    reading.open();
    await desk.activity.end();
    expect(desk.member.connection.received(ANNA)).toEqual(range(1, 4));
  });

  it('is filled once, for who came meanwhile too', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.append(draftOf(ANNA));
    const reading = gate.hold('read', 'before');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    const late = attach(desk, 'anna', 'phone');
    await late.done;
    reading.open();
    await desk.activity.end();
    for (const { connection } of [desk.member, late]) expect(connection.received(ANNA)).toEqual([1, 2]);
  });

  it('is nobody else’s business when those who saw it have gone', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.append(draftOf(ANNA));
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

describe('a topic that is left and joined again', () => {
  it('is caught up once', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    const { delivery } = desk;
    const other = attach(desk, 'ben', 'phone');
    await other.done;
    await Promise.all(range(1, 3).map(() => desk.store.append(draftOf('sea'))));
    // Somebody else keeps the topic alive on this node.
    await delivery.follow(other.connection, 'sea', 3);
    const { connection } = desk.member;
    const reading = gate.hold('read', 'after');
    const first = delivery.follow(connection, 'sea', 0);
    await reading.arrived;
    delivery.unfollow(connection, 'sea');
    await delivery.follow(connection, 'sea', 0);
    reading.open();
    await first;
    await delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual(range(1, 4));
  });

  it('gives nothing between', async () => {
    const desk = await openWithMember(new Gate());
    const { connection } = desk.member;
    await desk.delivery.follow(connection, 'sea', 0);
    await desk.delivery.publish(draftOf('sea'));
    desk.delivery.unfollow(connection, 'sea');
    await desk.delivery.publish(draftOf('sea'));
    await desk.delivery.follow(connection, 'sea', 2);
    await desk.delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual([1, 3]);
  });
});

describe('the place of a device', () => {
  it('is the newest one, also while it is being written', async () => {
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
    await Promise.all(range(1, 3).map(() => desk.store.append(draftOf(ANNA))));
    desk.member.connection.close();
    desk.cursors.advance(cursor);
    const { saveCursors } = desk.store;
    desk.store.saveCursors = () => Promise.reject(new Error('refused on purpose'));
    await desk.cursors.flush();
    desk.store.saveCursors = saveCursors;
    expect((await desk.cursors.open('anna', DEFAULT_DEVICE)).get(ANNA)?.seq).toBe(2);
    await desk.cursors.flush();
    expect((await desk.store.openDevice('anna', DEFAULT_DEVICE)).get(ANNA)?.seq).toBe(2);
  });
});
