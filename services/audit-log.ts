/**
 * The audit log on its way to the store. What an administrator does is on disk before it takes effect; sends are
 * written later, in batches, and a crash loses at most one interval of them.
 */
import type { AdminAction, AuditOutcome, ServiceAction } from '../utils/audit';
import type { Balance, Lender } from '../utils/balance';
import { type Caller, holdsScope } from '../utils/caller';
import type { Clock } from '../utils/clock';
import { newId } from '../utils/ids';
import type { Message } from '../utils/protocol';
import { FollowingFlight } from '../utils/single-flight';
import type { Logger } from './observability/logger';
import type { AuditEntry, AuditQuery, Store } from './storage/contract';

/**
 * In each batch, this many requests of one caller for one action have an entry each; further ones share one. So neither
 * memory nor the log grows with the traffic.
 */
export const ENTRIES_PER_BATCH = 20;

const DAY_MS = 86_400_000;

export interface AuditParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** 0: nothing is recorded. */
  readonly retentionDays: number;
}

/** The caller and the request. */
export interface Requester extends Caller {
  readonly requestId: string;
}

export type Act<Action> = { readonly action: Action } & Pick<AuditEntry, 'target' | 'messageId' | 'count'>;

/** By actor and action; the entry after ENTRIES_PER_BATCH is the shared one. */
type Batch = Map<string, AuditEntry[]>;

export class AuditLog implements Lender {
  #pending: Batch = new Map();
  /** Begun entries whose end is not in the store yet, by id. */
  #ended = new Map<string, AuditEntry>();
  readonly #batches = new FollowingFlight(() => this.#writeBatch());

  constructor(private readonly parts: AuditParts) {}

  get balance(): Balance {
    return { unwrittenAudit: this.#pending.size + this.#ended.size };
  }

  get #isOff(): boolean {
    return this.parts.retentionDays === 0;
  }

  /** Records what a service has done; does nothing for other callers. Written within a second. */
  note(requester: Requester, act: Act<ServiceAction>): void {
    if (this.#isOff || !isService(requester)) return;
    const { action, count } = act;
    const own = this.#pending.get(keyOf(requester.userId, action));
    const shared = own?.[ENTRIES_PER_BATCH];
    // In place: the common case allocates nothing.
    if (own !== undefined && shared !== undefined) own[ENTRIES_PER_BATCH] = added(shared, 1, count);
    else place(this.#pending, this.#entry(requester, act, 'done'));
  }

  /** Records that a scheduled message was not sent, because its sender is no longer allowed to send it. */
  noteDropped({ from: actor, topic: target, id: messageId }: Pick<Message, 'from' | 'topic' | 'id'>): void {
    if (this.#isOff) return;
    const at = this.parts.clock.now();
    place(this.#pending, { id: newId(at), at, actor, action: 'drop', target, messageId, count: 1, outcome: 'done' });
  }

  #entry({ userId, requestId }: Requester, act: Act<AdminAction | ServiceAction>, outcome: AuditOutcome): AuditEntry {
    const at = this.parts.clock.now();
    return { id: newId(at), at, actor: userId, ...act, outcome, requestId };
  }

  /**
   * Does what only an administrator may. It is recorded before it is done, and its outcome before this resolves: an
   * entry that stays `begun` means a crash, or a store that became unavailable meanwhile.
   * @throws StoreError when it could not be recorded: then nothing was done; and whatever `work` throws.
   */
  async record<Result>(
    requester: Requester,
    act: Act<AdminAction>,
    work: () => Promise<Result> | Result,
    countOf: (result: Result) => number,
  ): Promise<Result> {
    const entry = await this.begin(requester, act);
    let result: Result;
    try {
      result = await work();
    } catch (error) {
      await this.end(entry, 'failed', undefined);
      throw error;
    }
    await this.end(entry, 'done', countOf(result));
    return result;
  }

  /** The same in two steps. @throws StoreError */
  async begin(requester: Requester, act: Act<AdminAction>): Promise<AuditEntry> {
    const entry = this.#entry(requester, act, 'begun');
    if (!this.#isOff) await this.parts.store.audit.save([entry]);
    return entry;
  }

  async end(entry: AuditEntry, outcome: AuditOutcome, count: number | undefined): Promise<void> {
    if (this.#isOff) return;
    this.#ended.set(entry.id, { ...entry, outcome, ...(count === undefined ? {} : { count }) });
    await this.flush();
  }

  /** Writes pending entries, one batch at a time. What the store refuses stays pending, and is logged. */
  flush(): Promise<void> {
    return this.#batches.run();
  }

  async #writeBatch(): Promise<void> {
    const [pending, ended] = [this.#pending, this.#ended];
    if (pending.size === 0 && ended.size === 0) return;
    this.#pending = new Map();
    this.#ended = new Map();
    try {
      await this.parts.store.audit.save([...[...pending.values()].flat(), ...ended.values()]);
    } catch (error) {
      this.parts.logger.error({ err: error }, 'the audit log could not be written, new entries stay in memory');
      // After the older ones, within the same bounds.
      for (const entries of this.#pending.values()) for (const entry of entries) place(pending, entry);
      this.#pending = pending;
      for (const [id, entry] of this.#ended) ended.set(id, entry);
      this.#ended = ended;
    }
  }

  /** Matching entries, newest first; those of other nodes may be missing for a second. */
  async list(query: AuditQuery): Promise<readonly AuditEntry[]> {
    await this.flush();
    return this.parts.store.audit.list(query);
  }

  /** Removes what is older than the retention, at most `limit` entries. @returns how many. */
  prune(limit: number): Promise<number> {
    const { store, clock, retentionDays } = this.parts;
    return store.audit.prune(clock.now() - retentionDays * DAY_MS, limit);
  }
}

function isService(caller: Caller): boolean {
  return holdsScope(caller, 'send') || holdsScope(caller, 'broadcast');
}

function place(batch: Batch, entry: AuditEntry): void {
  const key = keyOf(entry.actor, entry.action);
  const entries = batch.get(key);
  if (entries === undefined) {
    batch.set(key, [entry]);
    return;
  }
  const shared = entries[ENTRIES_PER_BATCH];
  if (entries.length < ENTRIES_PER_BATCH) entries.push(entry);
  else entries[ENTRIES_PER_BATCH] = shared === undefined ? toShared(entry) : added(shared, entry.requests, entry.count);
}

/** Without the fields that belong to one request only. */
function toShared({ target, messageId, requestId, requests = 1, ...entry }: AuditEntry): AuditEntry {
  return { ...entry, requests };
}

function added(shared: AuditEntry, requests = 1, count = 0): AuditEntry {
  return { ...shared, requests: (shared.requests ?? 1) + requests, count: (shared.count ?? 0) + count };
}

/** No action contains a blank. */
function keyOf(actor: string, action: string): string {
  return `${action} ${actor}`;
}
