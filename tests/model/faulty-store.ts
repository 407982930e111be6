/**
 * A real store with switches: a call fails, its answer gets lost, or it waits until the test lets it go. Over the
 * embedded engine it also tells heads as a shared store does, so that several nodes in one process can use it.
 */
import type { MembershipChange, Revocation, SharedStore, Store } from '../../services/storage/contract';
import { isShared, StoreError } from '../../services/storage/contract';
import type { Message } from '../../utils/protocol';
import type { Fields } from './link';

export type Call = Exclude<keyof SharedStore, 'queuedWrites' | 'heldClaims' | 'identity'>;

export class Faults {
  readonly #failing = new Map<Call, number>();
  readonly #losing = new Map<Call, number>();
  readonly #held = new Map<Call, Promise<void>>();
  #release: (() => void)[] = [];

  /** The next calls fail before they have done anything. */
  fail(call: Call, times = 1): void {
    this.#failing.set(call, times);
  }

  /** The next calls do what they should, and fail. */
  lose(call: Call, times = 1): void {
    this.#losing.set(call, times);
  }

  /** From now on these calls are done, and answer only after `clear`. */
  hold(call: Call): void {
    this.#held.set(call, new Promise((resolve) => this.#release.push(resolve)));
  }

  clear(): void {
    this.#failing.clear();
    this.#losing.clear();
    this.#held.clear();
    for (const release of this.#release.splice(0)) release();
  }

  async pass<Result>(call: Call, work: () => Promise<Result>): Promise<Result> {
    if (take(this.#failing, call)) throw new StoreError('it fails on purpose');
    const isLost = take(this.#losing, call);
    const result = await work();
    await this.#held.get(call);
    if (isLost) throw new StoreError('the answer is lost on purpose');
    return result;
  }
}

function take(counts: Map<Call, number>, call: Call): boolean {
  const left = counts.get(call) ?? 0;
  counts.set(call, left - 1);
  return left > 0;
}

/** Says when logs were written to last: what an engine for several nodes does itself. */
class RecentHeads {
  readonly #heads = new Map<string, { seq: number; at: number }>();

  constructor(private readonly now: () => number) {}

  note(entries: readonly Message[]): void {
    for (const { topic, seq } of entries) {
      const known = this.#heads.get(topic)?.seq ?? 0;
      if (seq > known) this.#heads.set(topic, { seq, at: this.now() });
    }
  }

  since(time: number): ReadonlyMap<string, number> {
    const recent = [...this.#heads].filter(([, { at }]) => at >= time);
    return new Map(recent.map(([topic, { seq }]) => [topic, seq]));
  }
}

/** Says which memberships have changed lately, as they are now. */
class RecentMemberships {
  readonly #changes = new Map<string, MembershipChange & { at: number }>();

  constructor(private readonly now: () => number) {}

  note(call: string | symbol, [name, second]: readonly unknown[]): void {
    const topic = String(name);
    if (call === 'deleteTopic') this.#enter({ topic, isMember: false });
    if (call === 'addMember') this.#enter({ topic, userId: String((second as Fields)['userId']), isMember: true });
    if (call === 'removeMember') this.#enter({ topic, userId: String(second), isMember: false });
  }

  #enter(change: MembershipChange): void {
    const key = `${change.topic} ${change.userId ?? ''}`;
    this.#changes.delete(key);
    this.#changes.set(key, { ...change, at: this.now() });
  }

  since(time: number): MembershipChange[] {
    return [...this.#changes.values()].filter(({ at }) => at >= time);
  }
}

/** @param makeShared for the embedded engine: nodes beside this one use it too. */
export function withFaults(
  store: Store,
  faults: Faults,
  { isSharedHere, now }: { isSharedHere: boolean; now: () => number },
): Store {
  const heads = new RecentHeads(now);
  const memberships = new RecentMemberships(now);
  const beside: Partial<Record<string | symbol, unknown>> =
    isSharedHere && !isShared(store)
      ? {
          identity: 'shared-in-process',
          recentHeads: async (since: number) => heads.since(since),
          recentMemberships: async (since: number) => memberships.since(since),
          recentRevocations: () => revocationsOf(store),
          // Nodes that stop leave it to the others; the directory goes with the world.
          close: async () => {},
        }
      : {};
  return new Proxy(store, {
    has: (target, name) => name in beside || name in target,
    get: (target, name) => {
      const value = beside[name] ?? Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        // Only what came from the engine is kept from the callers; the calls themselves are its own.
        return faults.pass(name as Call, async () => {
          const result: unknown = await value.apply(target, args);
          heads.note(entriesOf(result));
          memberships.note(name, args);
          return result;
        });
      };
    },
  });
}

function revocationsOf(store: Store): Promise<readonly Revocation[]> {
  return store.revocations({ limit: 1_000 });
}

/** What a call has appended, as far as its answer tells. */
function entriesOf(result: unknown): readonly Message[] {
  const entries = Array.isArray(result) ? result : (result as { entries?: unknown } | undefined)?.entries;
  return Array.isArray(entries) ? entries.filter((one) => typeof one?.seq === 'number' && 'topic' in one) : [];
}
