/**
 * A real store with switches: a call fails, its answer is lost, or it waits until the test releases it. Over the
 * embedded engine, it also reports heads like a shared store, so that several nodes in one process can use it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type MembershipChange,
  type RecentStore,
  type SharedStore,
  type Store,
  StoreError,
} from '../../services/storage/contract';
import type { Message } from '../../utils/protocol';
import { type Random, randomOf } from '../support/random';
import type { Fields } from './link';

const PARTS = [
  ...(['log', 'devices', 'users', 'topics', 'inbox', 'receipts', 'schedule'] as const),
  ...(['keys', 'revocations', 'audit', 'removals', 'recent'] as const),
] as const;

type PartName = (typeof PARTS)[number];

/** A call of a part. */
export type Call = { [Part in PartName]: `${Part}.${keyof SharedStore[Part] & string}` }[PartName];

const MAX_TURNS_BEFORE = 1;
const MAX_TURNS_AFTER = 3;

export class Faults {
  readonly #failing = new Map<Call, number>();
  readonly #losing = new Map<Call, number>();
  readonly #held = new Map<Call, Promise<void>>();
  #release: (() => void)[] = [];
  #scattering: Random | undefined;
  #turn: Promise<void> | undefined;

  /** The next calls fail before they have done anything. */
  fail(call: Call, times = 1): void {
    this.#failing.set(call, times);
  }

  /** The next calls are carried out, and then fail. */
  lose(call: Call, times = 1): void {
    this.#losing.set(call, times);
  }

  /** From now on, calls are carried out, and answer only after `clear`. */
  hold(call: Call): void {
    this.#held.set(call, new Promise((resolve) => this.#release.push(resolve)));
  }

  /** From now on, answers come in another order than the calls. */
  scatter(seed: number): void {
    this.#scattering = randomOf(seed);
  }

  clear(): void {
    this.#scattering = undefined;
    this.#failing.clear();
    this.#losing.clear();
    this.#held.clear();
    for (const release of this.#release.splice(0)) release();
  }

  async pass<Result>(call: Call, work: () => Promise<Result>): Promise<Result> {
    if (take(this.#failing, call)) throw new StoreError('it fails on purpose');
    const isLost = take(this.#losing, call);
    if (this.#scattering !== undefined) await this.#linger(this.#scattering, MAX_TURNS_BEFORE);
    const result = await work();
    if (this.#scattering !== undefined) await this.#linger(this.#scattering, MAX_TURNS_AFTER);
    await this.#held.get(call);
    if (isLost) throw new StoreError('the answer is lost on purpose');
    return result;
  }

  async #linger(random: Random, most: number): Promise<void> {
    for (let turns = random.integer(0, most); turns > 0; turns -= 1) await this.#nextTurn();
  }

  /** One for all who wait: their continuations are mixed step by step. */
  #nextTurn(): Promise<void> {
    this.#turn ??= nextTurn().then(() => {
      this.#turn = undefined;
    });
    return this.#turn;
  }
}

function take(counts: Map<Call, number>, call: Call): boolean {
  const left = counts.get(call) ?? 0;
  counts.set(call, left - 1);
  return left > 0;
}

/** Reports when logs were last written: an engine for several nodes does this itself. */
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

/** Reports which memberships have changed lately, as they are now. */
class RecentMemberships {
  readonly #changes = new Map<string, MembershipChange & { at: number }>();

  constructor(private readonly now: () => number) {}

  note(call: Call, [name, second]: readonly unknown[]): void {
    const topic = String(name);
    if (call === 'topics.delete') this.#enter({ topic, isMember: false });
    if (call === 'topics.addMember')
      this.#enter({ topic, userId: String((second as Fields)['userId']), isMember: true });
    if (call === 'topics.removeMember') this.#enter({ topic, userId: String(second), isMember: false });
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

/** @param isSharedHere for the embedded engine: nodes beside this one use it too. */
export function withFaults(
  store: Store,
  faults: Faults,
  { isSharedHere, now }: { isSharedHere: boolean; now: () => number },
): Store {
  const heads = new RecentHeads(now);
  const memberships = new RecentMemberships(now);
  const recent: RecentStore = {
    heads: async (since) => heads.since(since),
    memberships: async (since) => memberships.since(since),
    revocations: () => store.revocations.list({ limit: 1_000 }),
  };
  const beside =
    isSharedHere && !store.isShared
      ? {
          ...{ isShared: true, identity: 'shared-in-process', recent },
          // A stopping node leaves it to the others; the directory goes with the world.
          close: async () => {},
        }
      : {};
  const note = (call: Call, args: readonly unknown[], result: unknown) => {
    heads.note(entriesOf(result));
    memberships.note(call, args);
  };
  const whole: Store = Object.assign(Object.create(store), beside);
  const parts = PARTS.filter((name) => name in whole).map((name) => [name, faultyPart(whole, name, { faults, note })]);
  return Object.assign(Object.create(whole), Object.fromEntries(parts));
}

/** A part whose calls are kept from their callers, but not the engine's own calls of it. */
function faultyPart(
  store: Store,
  name: PartName,
  { faults, note }: { faults: Faults; note: (call: Call, args: readonly unknown[], result: unknown) => void },
): object {
  const part = (store as SharedStore)[name] as object as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const calls = Object.entries(part).map(([method, work]) => {
    const call = `${name}.${method}` as Call;
    const faulty = (...args: unknown[]) =>
      faults.pass(call, async () => {
        const result = await work(...args);
        note(call, args, result);
        return result;
      });
    return [method, faulty] as const;
  });
  return Object.fromEntries(calls);
}

/** What a call has appended, as far as its answer tells. */
function entriesOf(result: unknown): readonly Message[] {
  const entries = Array.isArray(result) ? result : (result as { entries?: unknown } | undefined)?.entries;
  return Array.isArray(entries) ? entries.filter((one) => typeof one?.seq === 'number' && 'topic' in one) : [];
}
