/** States of messages, and when they changed. */
import type { LogPosition } from '../contract';
import type { Stamp } from '../rules/receipt-page';
import { blockOf, readSlot } from '../rules/slot-row';
import { FLAGS, NOBODY, STAMPS, type StampKind } from '../rules/states';
import type { Collections } from './layout';
import { Rows, type TopicSpan } from './rows';

/** When something happened to places of a topic. */
export interface Stamping extends TopicSpan {
  readonly userId: string;
  readonly kind: StampKind;
  readonly at: number;
  readonly isMeant?: (seq: number) => boolean;
}

export class Marks {
  readonly flags: Rows;
  readonly facts: Rows;
  readonly #stamps: Rows;

  constructor(collections: Collections) {
    this.flags = new Rows(collections.flags, FLAGS);
    this.facts = new Rows(collections.facts, FLAGS);
    this.#stamps = new Rows(collections.stamps, STAMPS);
  }

  /** The stored flags of a user in some spans: see Facts for what the messages imply. */
  async flagsAt(userId: string, spans: readonly TopicSpan[]): Promise<(place: LogPosition) => number> {
    const rowOf = await this.flags.read(spans, [userId]);
    return ({ topic, seq }) => readSlot(FLAGS, rowOf(topic, blockOf(FLAGS, seq)), seq);
  }

  /** Sets times; 0 takes one back. `isFirst`: only where none is known. */
  async stamp(stampings: readonly Stamping[], { isFirst = false } = {}): Promise<void> {
    await this.#stamps.apply(
      stampings.map(({ topic, userId, kind, at, isMeant = always, from, upTo }) => ({
        topic,
        span: { from, upTo },
        owner: [userId, kind],
        change: (before, seq) => ((before === 0 || !isFirst) && isMeant(seq) ? at : before),
      })),
    );
  }

  /** The times of one message by user and kind, up to or after one user. */
  async *stampsOf(
    { topic, seq }: LogPosition,
    part: { upTo?: string | undefined; after?: string | undefined },
  ): AsyncGenerator<Stamp> {
    for await (const { _id, bytes } of this.#stamps.ofBlock(topic, seq, part)) {
      yield { ...ownerOf(_id), at: readSlot(STAMPS, bytes, seq) };
    }
  }

  /** Removes everything known of places up to a `seq`. */
  async removeUpTo(topic: string, seq: number): Promise<void> {
    await Promise.all([this.flags, this.facts, this.#stamps].map((rows) => rows.removeUpTo(topic, seq)));
  }

  /** A part of that, of all places for an infinite `seq`. @returns how many rows. */
  async removeSome(topic: string, seq: number): Promise<number> {
    const flags = await this.flags.removeSome(topic, seq);
    return flags > 0 ? flags : this.#stamps.removeSome(topic, seq);
  }

  /** Removes the states of one user in a topic. */
  async removeUser(userId: string, { topic, ...span }: TopicSpan): Promise<void> {
    await Promise.all([this.flags.removeOwner(topic, span, userId), this.#stamps.removeOwner(topic, span, userId)]);
  }
}

function ownerOf(id: string): { userId: string; kind: string } {
  const [, , userId = NOBODY, kind = ''] = id.split('\u0001');
  return { userId, kind };
}

const always = (_seq: number): boolean => true;
