/** Hands what the service sends to whom it concerns: the inbox, the listeners, presence. The input has been checked. */
import { fromProblem, type TidingsError } from './errors.ts';
import type { Inbox } from './inbox.ts';
import type { Frame, Intake } from './intake.ts';
import type { Presence } from './presence.ts';
import type {
  InboxItem,
  Message,
  MessageRemoved,
  MessageUpdated,
  PresenceJoin,
  PresenceList,
  StateChange,
  SyncDone,
  SyncReset,
} from './protocol.ts';
import { SERVER_EVENTS } from './protocol.ts';
import type { Seen } from './seen.ts';
import { claimsToBeMeta, isProblem } from './shapes.ts';

export interface FrameParts {
  readonly inbox: Inbox;
  readonly intake: Intake;
  readonly presence: Presence;
  readonly seen: Seen;
  readonly userId: () => string | undefined;
  /** Calls the listeners of events that are not messages. */
  readonly emit: (event: string, payload: unknown) => void;
  readonly report: (error: TidingsError) => void;
}

const OWN_EVENTS: ReadonlySet<string> = new Set(SERVER_EVENTS);

export class Frames {
  constructor(private readonly parts: FrameParts) {}

  receive(event: string, [payload, meta]: readonly unknown[]): void {
    if (OWN_EVENTS.has(event)) this.#receiveOwn(event, payload);
    // Such an event has no `type`; by convention it is the same name, and the list over HTTP has it.
    else if (claimsToBeMeta(meta))
      this.#receiveMessage({ type: event, ...meta, data: payload, event }, [payload, meta]);
  }

  #receiveOwn(event: string, payload: unknown): void {
    const { inbox, presence, emit, report } = this.parts;
    if (event === 'message') this.#receiveMessage(payload as Message, [payload]);
    else if (event === 'message:updated') this.#receiveUpdate(payload as MessageUpdated);
    else if (event === 'message:removed') this.#receiveRemoval(payload as MessageRemoved);
    else if (event === 'state') inbox.receive({ kind: 'state', ...(payload as StateChange) });
    else if (event === 'sync:done') inbox.synced((payload as SyncDone).counts);
    else if (event === 'sync:reset') this.#reset(payload as SyncReset);
    else if (event === 'presence') presence.receive({ kind: 'list', frame: payload as PresenceList });
    else if (event === 'presence:join') presence.receive({ kind: 'join', frame: payload as PresenceJoin });
    else if (event === 'presence:leave') presence.receive({ kind: 'leave', frame: payload as PresenceJoin });
    else if (event === 'error' && isProblem(payload)) report(fromProblem(payload));
    if (FORWARDED.has(event)) emit(event, payload);
  }

  #receiveMessage(message: Message & { readonly event?: string }, args: readonly unknown[]): void {
    const { inbox, intake } = this.parts;
    // An echo is not a message.
    if (!claimsToBeMeta(message)) return;
    const { id, topic, seq, event = 'message' } = message;
    const isNew = intake.take({ event, args, topic, seq, id });
    if (isNew && seq !== undefined) {
      inbox.receive({ kind: 'message', item: this.#toItem({ ...message, seq }), counts: message.counts });
    }
  }

  #toItem({ counts: _counts, ...message }: Message & { readonly seq: number }): InboxItem {
    return { ...message, state: message.from === this.parts.userId() ? 'read' : 'unseen' };
  }

  #receiveUpdate(entry: MessageUpdated): void {
    if (this.#take('message:updated', entry)) this.parts.inbox.receive({ kind: 'updated', ...entry });
  }

  #receiveRemoval(entry: MessageRemoved): void {
    if (this.#take('message:removed', entry)) this.parts.inbox.receive({ kind: 'removed', ...entry });
  }

  #take(event: string, entry: Pick<Frame, 'topic' | 'seq' | 'id'>): boolean {
    const { topic, seq, id } = entry;
    return this.parts.intake.take({ event, args: [entry], topic, seq, id });
  }

  /** After an erasure, nothing that is kept about the user may stay. The list is read again after `sync:done`. */
  #reset({ reason }: SyncReset): void {
    if (reason !== 'erased') return;
    void this.parts.seen.clear();
    void this.parts.inbox.forget();
  }
}

/** What listeners receive directly; messages go through the intake. */
const FORWARDED: ReadonlySet<string> = new Set([
  'state',
  'sync:done',
  'sync:reset',
  'presence',
  'presence:join',
  'presence:leave',
  'typing',
  'topic:joined',
  'auth:expiring',
]);
