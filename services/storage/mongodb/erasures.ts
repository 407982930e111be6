/** Erases users: hidden at once, then removed row by row. */
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import type { Erased } from '../contract';
import { type Database, startingWith } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import type { Removals } from './removals';
import type { Schedule } from './schedule';
import type { Sweeps } from './sweeps';
import type { Topics } from './topics';
import type { Writer } from './writer';

/** Messages of an erased user removed by one command. */
const ERASED_AT_ONCE = 500;

interface ErasureParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly writer: Writer;
  readonly sweeps: Sweeps;
  readonly topics: Topics;
  readonly memberships: Memberships;
  readonly schedule: Schedule;
  readonly removals: Removals;
}

export class Erasures {
  constructor(
    private readonly db: Database,
    private readonly parts: ErasureParts,
  ) {}

  async advance(): Promise<boolean> {
    return this.db.turns.take('removals', () => this.parts.removals.advance((userId) => this.#eraseRows(userId)));
  }

  async erase(userId: string): Promise<Erased> {
    const { removals, writer } = this.parts;
    const own = personalTopic(userId);
    // Queued among the appends at once: later messages are not erased.
    const hiding = writer.between(own, () => this.#hideAll(own));
    const erasing = this.db.turns.take(`user ${userId}`, async () => {
      await removals.beginErasure(userId);
      const messages = await hiding;
      const erased = await this.#eraseRows(userId);
      await removals.endErasure(userId);
      return { messages, ...erased };
    });
    const [erased] = await Promise.all([erasing, hiding]);
    return erased;
  }

  /** @returns how many messages were there. */
  async #hideAll(topic: string): Promise<number> {
    const { log, sweeps } = this.parts;
    const { head, prunedUpTo } = await log.state(topic);
    const filter = { topic, seq: { $gt: prunedUpTo, $lte: head }, isGone: { $exists: false }, ref: { $exists: false } };
    const count = await this.db.collections.messages.countDocuments(filter);
    await sweeps.hide(topic, head, { isErased: true });
    return count;
  }

  /** Can be started again after a crash: what names the rest is removed last. */
  async #eraseRows(userId: string): Promise<Omit<Erased, 'messages'>> {
    const { log, sweeps, schedule, memberships, topics } = this.parts;
    const { answers, cursors, devices, users } = this.db.collections;
    const own = personalTopic(userId);
    const ofUser = { _id: startingWith(userId) };
    await sweeps.hide(stateTopic(userId), await log.head(stateTopic(userId)));
    const scheduled = await schedule.cancelOf(userId, own);
    await answers.deleteMany(ofUser);
    const joined = await memberships.ofUser(userId);
    const left = await memberships.allLeftOf(userId);
    for (const membership of [...joined, ...left]) await topics.forgetMember(membership);
    const count = await cursors.countDocuments({ ...ofUser, topic: stateTopic(userId) });
    await this.#forgetStates(userId);
    for (const topic of [own, stateTopic(userId)]) await sweeps.removeHiddenOf(topic, ERASED_AT_ONCE);
    await cursors.deleteMany(ofUser);
    await devices.deleteMany(ofUser);
    await users.deleteOne({ _id: userId });
    return { devices: count, memberships: joined.length, scheduled };
  }

  async #forgetStates(userId: string): Promise<void> {
    const { marks, log } = this.parts;
    const user = await this.db.collections.users.findOne({ _id: userId });
    await marks.removeUpTo(personalTopic(userId), Number.POSITIVE_INFINITY);
    if (user === null) return;
    const { head } = await log.state(BROADCAST_TOPIC);
    await marks.removeUser(userId, { topic: BROADCAST_TOPIC, from: user.broadcastStart + 1, upTo: head });
  }
}
