/** Retention: removes old messages from the beginning of each topic, a few per transaction. */
import { nextTurn } from '../../../utils/clock';
import { Slice } from '../../../utils/slices';
import type { Access } from './access';
import type { Log } from './log';

/** Topics a sweep looks at before other work runs. */
const TOPICS_PER_TURN = 200;
const MARKS_PER_TRANSACTION = 200;
const PRUNED_PER_TRANSACTION = 200;

export class Pruning {
  /** Where the current sweep continues; `undefined` starts over. */
  #after: string | undefined;
  #underWay: Promise<number> = Promise.resolve(0);

  constructor(
    private readonly access: Access,
    private readonly log: Log,
  ) {}

  /** One at a time: two would count the same messages twice. */
  prune(before: number, limit: number): Promise<number> {
    const run = () => this.#prune(before, limit);
    this.#underWay = this.#underWay.then(run, run);
    return this.#underWay;
  }

  /** Continues after the topic where the last call ended, then once more from the beginning: nothing is left then. */
  async #prune(before: number, limit: number): Promise<number> {
    let removed = 0;
    let isLastRound = this.#after === undefined;
    for (;;) {
      const topics = await this.access.reading(() => this.#nextTopics());
      for (const topic of topics) {
        removed += await this.#pruneTopic(topic, before, limit - removed);
        if (removed === limit) return removed;
        this.#after = topic;
      }
      if (topics.length > 0) await nextTurn();
      else {
        this.#after = undefined;
        if (isLastRound) return removed;
        isLastRound = true;
      }
    }
  }

  #nextTopics(): string[] {
    const start = this.#after;
    const range = start === undefined ? {} : { start, exclusiveStart: true };
    return Array.from(this.access.trees.topics.getKeys({ ...range, limit: TOPICS_PER_TURN }));
  }

  async #pruneTopic(topic: string, before: number, limit: number): Promise<number> {
    let removed = 0;
    while (removed < limit) {
      const bounds = { limit: Math.min(limit - removed, PRUNED_PER_TRANSACTION), slice: new Slice() };
      const old = await this.access.reading(() => this.log.oldOf(topic, before, bounds));
      if (old.length === 0) break;
      await this.access.write(() => this.log.removeOld(topic, old));
      removed += old.length;
    }
    if (removed > 0) await this.#removeOldMarks(topic);
    return removed;
  }

  /** There is a row for each user with a state: more than fit into one transaction. */
  async #removeOldMarks(topic: string): Promise<void> {
    while ((await this.access.write(() => this.log.removeOldMarks(topic, MARKS_PER_TRANSACTION))) > 0);
  }
}
