/** What every call goes through: is the store open, how long may the call take, what do errors become. */
import { withDeadline } from '../../../utils/deadline';
import { StoreError } from '../contract';
import { CALL_DEADLINE_MS } from './connection';
import { closedError, toStoreError } from './errors';

export class Calls {
  readonly #underWay = new Set<Promise<unknown>>();
  #isClosing = false;

  /** Ends by the deadline; work that takes longer ends by itself, and close() waits for it. */
  call<Result>(work: () => Promise<Result>): Promise<Result> {
    return inTime(this.sweep(work));
  }

  /** Without a deadline: the work consists of many commands, each with its own. */
  async sweep<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#isClosing) throw closedError();
    const done = work();
    this.#underWay.add(done);
    try {
      return await done;
    } catch (error) {
      throw toStoreError(error);
    } finally {
      this.#underWay.delete(done);
    }
  }

  /** Refuses new calls, and waits for pending ones. */
  async close(): Promise<void> {
    this.#isClosing = true;
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }
}

/** @throws StoreError when it takes longer than a call may. */
export function inTime<Result>(work: Promise<Result>): Promise<Result> {
  const late = () => new StoreError(`the database did not answer within ${CALL_DEADLINE_MS} ms`);
  return withDeadline(work, CALL_DEADLINE_MS, late);
}
