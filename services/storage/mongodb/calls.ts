/** What every call of the store goes through: is it open, how long may it take, what does a fault become. */
import { withDeadline } from '../../../utils/deadline';
import { StoreError } from '../contract';
import { CALL_DEADLINE_MS } from './connection';
import { closedError, toStoreError } from './errors';

export class Calls {
  readonly #underWay = new Set<Promise<unknown>>();
  #isClosing = false;

  /** Ends by the deadline, whatever the server does; what was begun then ends by itself, and is waited for by close(). */
  call<Result>(work: () => Promise<Result>): Promise<Result> {
    return inTime(this.sweep(work));
  }

  /** Has no deadline: it is made of many commands, each of which has one. */
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

  /** Takes no more calls, and waits for those that are under way. */
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
