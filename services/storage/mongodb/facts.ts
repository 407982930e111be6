/**
 * Permanent facts about places: a hole, own message, or not for a user. Tags of the messages say so at first; where
 * there are many they are folded into rows, so that a count need not look at each message. Rows are written before tags
 * are removed: whoever reads tags and then rows misses nothing.
 */

import { partsOf } from '../../../utils/parts';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { LogPosition } from '../contract';
import { addBits, blockOf, blocksOf } from '../rules/slot-row';
import { type BlockRows, EXCLUDED, FLAGS, OWN } from '../rules/states';
import { allOf } from './commands';
import { type Database, exceptTag, fromTag, HOLE, isHole, type MessageDoc } from './layout';
import type { Marks } from './marks';
import { type SlotChange, type TopicSpan, taggedIn } from './rows';

/** What is known of one block, in the form of rows. */
export interface Overlay {
  /** OWN on one's own messages, EXCLUDED on what is not for the user. */
  readonly flags: Buffer;
  readonly holes: Buffer;
}

export type FactRows = (topic: string, block: number) => BlockRows;

export type Overlays = (topic: string, block: number) => Overlay | undefined;

/** A message that may say something. */
export type Special = Pick<MessageDoc, '_id' | 'topic' | 'seq' | 'tags' | 'expiresAt' | 'removes'>;

/** Tags that a count tolerates. */
const FOLD_AT = 256;
/** Holes that one look into a log tolerates. */
const HOLES_FOLD_AT = 32;
const FOLDED_AT_ONCE = 2_000;
/** Up to so many topics are queried by their places. */
const FEW_TOPICS = 8;
const TOPICS_PER_QUERY = 250;
const SPANS_PER_QUERY = 100;
const PROJECTION = { topic: 1, seq: 1, tags: 1, expiresAt: 1, removes: 1 };

export interface FactParts {
  readonly marks: Marks;
  /** Does work that nobody waits for. */
  readonly later: (work: () => Promise<void>) => void;
}

export class Facts {
  #isFolding = false;

  constructor(
    private readonly db: Database,
    private readonly parts: FactParts,
  ) {}

  /** What the messages of some sections imply for a user. */
  async overlays(userId: string, sections: readonly TopicSpan[]): Promise<Overlays> {
    const overlays = new OverlayMap();
    const specials: Special[] = [];
    const now = this.db.clock.now();
    for await (const special of this.#specials(userId, sections)) {
      if (isSliceOver()) await nextSlice();
      const { tags, expiresAt = Number.POSITIVE_INFINITY, topic, removes } = special;
      overlays.enter(special, {
        isHole: tags.includes(HOLE) || expiresAt <= now,
        flags: (tags.includes(fromTag(userId)) ? OWN : 0) | (tags.includes(exceptTag(userId)) ? EXCLUDED : 0),
      });
      // What an entry takes out is gone with it, whoever has still to bury it.
      if (removes !== undefined) overlays.enter({ topic, seq: removes }, { isHole: true, flags: 0 });
      else if (tags.length > 0) specials.push(special);
    }
    await this.#addRows(overlays, userId, sections);
    if (specials.length >= FOLD_AT) this.foldLater(userId, specials);
    return overlays.get;
  }

  /** The same for some messages. */
  overlaysOf(userId: string, docs: readonly MessageDoc[]): Overlays {
    const overlays = new OverlayMap();
    for (const doc of docs) {
      const flags = (doc.from === userId ? OWN : 0) | (doc.exceptUserId === userId ? EXCLUDED : 0);
      overlays.enter(doc, { isHole: isHole(doc), flags });
    }
    return overlays.get;
  }

  async *#specials(userId: string, sections: readonly TopicSpan[]): AsyncGenerator<Special> {
    const tags = { $in: [HOLE, fromTag(userId), exceptTag(userId)] };
    const isFew = sections.length <= FEW_TOPICS;
    for (const part of partsOf(sections, isFew ? FEW_TOPICS : TOPICS_PER_QUERY)) {
      const topics = part.map(({ topic }) => topic);
      const tagged = isFew ? taggedIn(part, tags) : [{ topic: { $in: topics }, tags }];
      const $or = [...tagged, { dueAt: { $lte: this.db.clock.now() }, topic: { $in: topics } }];
      yield* this.db.collections.messages.find<Special>({ $or }, { projection: PROJECTION });
    }
  }

  async #addRows(overlays: OverlayMap, userId: string, sections: readonly TopicSpan[]): Promise<void> {
    const rowsOf = await this.rowsOf(userId, sections);
    for (const { topic, ...section } of sections) {
      for (const [block] of blocksOf(FLAGS, section)) {
        if (isSliceOver()) await nextSlice();
        overlays.add(topic, block, rowsOf(topic, block));
      }
    }
  }

  /** What rows say about places, to a user or to all; tags may say more. */
  async rowsOf(userId: string | undefined, spans: readonly TopicSpan[]): Promise<FactRows> {
    const own = userId === undefined ? [] : [[userId]];
    const rowOf = await this.parts.marks.facts.read(spans, [], ...own);
    return (topic, block) => ({ holes: rowOf(topic, block), flags: own[0] && rowOf(topic, block, own[0]) });
  }

  /** Folds the tags of one look. If it fails, the next one does it. */
  foldLater(userId: string, specials: readonly Special[]): void {
    if (this.#isFolding) return;
    this.#isFolding = true;
    this.parts.later(async () => {
      try {
        for (const part of partsOf(specials, FOLDED_AT_ONCE)) await this.#fold(userId, part);
      } finally {
        this.#isFolding = false;
      }
    });
  }

  /** Own messages in some spans that rows do not contain yet. */
  async ownPlaces(userId: string, spans: readonly TopicSpan[]): Promise<(topic: string, seq: number) => boolean> {
    const found: LogPosition[] = [];
    const projection = { _id: 0, topic: 1, seq: 1 };
    for (const $or of partsOf(taggedIn(spans, fromTag(userId)), SPANS_PER_QUERY)) {
      found.push(...(await allOf(this.db.collections.messages.find({ $or }, { projection }))));
    }
    const places = new Set(found.map(({ topic, seq }) => `${seq} ${topic}`));
    return (topic, seq) => places.has(`${seq} ${topic}`);
  }

  /** The same for messages found on the way. */
  foldHoles(userId: string, docs: readonly MessageDoc[]): void {
    const holes = docs.filter(({ tags }) => tags.includes(HOLE));
    if (holes.length >= HOLES_FOLD_AT) this.foldLater(userId, holes);
  }

  async #fold(userId: string, specials: readonly Special[]): Promise<void> {
    const [own, excepted] = [fromTag(userId), exceptTag(userId)];
    const folds = [
      { tag: HOLE, owner: [], fact: 1, update: { $set: { tags: [] } } },
      { tag: own, owner: [userId], fact: OWN, update: { $pull: { tags: own } } },
      { tag: excepted, owner: [userId], fact: EXCLUDED, update: { $pull: { tags: excepted } } },
    ].map((fold) => ({ ...fold, docs: specials.filter(({ tags }) => tags.includes(fold.tag)) }));
    const changes = folds.flatMap(({ docs, owner, fact }) => docs.map((place) => factOf(place, owner, fact)));
    await this.parts.marks.facts.apply(changes);
    for (const { docs, update } of folds) {
      const _id = { $in: docs.map((doc) => doc._id) };
      if (docs.length > 0) await this.db.collections.messages.updateMany({ _id }, update as object);
    }
  }

  /** Enters holes for places that nobody finds any more: they need no tags. */
  async enterHoles(places: readonly LogPosition[]): Promise<void> {
    await this.parts.marks.facts.apply(places.map((place) => factOf(place, [], 1)));
  }
}

function factOf({ topic, seq }: LogPosition, owner: readonly string[], fact: number): SlotChange {
  return { topic, span: { from: seq, upTo: seq }, owner, change: (value) => value | fact };
}

class OverlayMap {
  readonly #overlays = new Map<string, Overlay>();

  readonly get: Overlays = (topic, block) => this.#overlays.get(overlayKey(topic, block));

  enter({ topic, seq }: LogPosition, fact: { isHole: boolean; flags: number }): void {
    const { flags, holes } = this.#make(topic, blockOf(FLAGS, seq));
    const slot = seq % FLAGS.count;
    if (fact.isHole) holes[slot] = 1;
    flags[slot] = (flags[slot] ?? 0) | fact.flags;
  }

  add(topic: string, block: number, rows: BlockRows): void {
    if (rows.holes === undefined && rows.flags === undefined) return;
    const overlay = this.#make(topic, block);
    addBits(overlay.holes, rows.holes);
    addBits(overlay.flags, rows.flags);
  }

  #make(topic: string, block: number): Overlay {
    const key = overlayKey(topic, block);
    const overlay = this.#overlays.get(key) ?? { flags: Buffer.alloc(FLAGS.count), holes: Buffer.alloc(FLAGS.count) };
    this.#overlays.set(key, overlay);
    return overlay;
  }
}

function overlayKey(topic: string, block: number): string {
  return `${block} ${topic}`;
}
