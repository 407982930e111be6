/** Entries of a log that are about something else: a message that was changed or taken out, or states. */
import type { Message } from '../../../utils/protocol';
import { stateTopic } from '../../../utils/topic-names';
import type { Expired } from '../contract';

/** An entry before it has an id, a time, and a place; with its data as the engine keeps it. */
export type Entry<Data = unknown> = Omit<Message, 'id' | 'seq' | 'timestamp' | 'data'> & { readonly data: Data };

/** What has become of a message, by whom; with a reason, it is gone. */
export type About<Data = unknown> = Pick<Entry<Data>, 'data' | 'from' | 'reason'> & { readonly event: string };

interface Subject {
  readonly topic: string;
  readonly seq: number;
  readonly id: string;
  readonly exceptUserId?: string | undefined;
  readonly expiresAt?: number | undefined;
}

/** A user who never got a message is not notified of it either, and new data is not to outlive the message. */
export function entryAbout<Data>(subject: Subject, about: About<Data>): Entry<Data> {
  const { topic, seq, id, exceptUserId, expiresAt } = subject;
  const { event, reason } = about;
  return {
    ...{ topic, type: event, ref: id, refSeq: seq, ...about },
    ...(exceptUserId === undefined ? {} : { exceptUserId }),
    ...(expiresAt === undefined || reason !== undefined ? {} : { expiresAt }),
  };
}

/** The entry in the log of states of a user. */
export function stateEntry<Data>(userId: string, data: Data): Entry<Data> {
  return { topic: stateTopic(userId), type: 'state', event: 'state', data, from: userId };
}

export function toExpired({ topic, seq, id, exceptUserId }: Subject): Expired {
  return { topic, seq, id, ...(exceptUserId === undefined ? {} : { exceptUserId }) };
}
