/** Scheduled messages. */
import { toIsoTime } from '../../../utils/clock';
import { isNamedTopic } from '../../../utils/topic-names';
import type { Draft, MayBeSent, Scheduled, ScheduleOutcome } from '../contract';
import { fingerprintOf } from './fingerprint';

/** Nothing is due. */
export const NOTHING_SENT = { taken: 0, entries: [], refused: [] } as const;

/** Without internal fields. */
export function toScheduled({ draft, sendAt, standing }: Scheduled): Scheduled {
  return { draft, sendAt, ...(standing === undefined ? {} : { standing }) };
}

/** The outcome of scheduling under an id that is taken. `said`: fingerprint of what has it. */
export function outcomeUnder(
  said: string | undefined,
  draft: Draft,
  scheduledFor: string | undefined,
): ScheduleOutcome {
  const isSame = scheduledFor !== undefined && said === fingerprintOf(draft);
  return isSame ? { outcome: 'repeated', scheduledFor } : { outcome: 'conflict' };
}

interface Circumstances {
  readonly now: number;
  /** Is the named topic still the one that it was scheduled for? */
  readonly isSameTopic: boolean;
  /** Is the sender in it? */
  readonly isMember: boolean;
  readonly mayBeSent: MayBeSent;
}

/** What happens to a due message. */
export function verdictOn(scheduled: Scheduled, circumstances: Circumstances): 'dropped' | 'refused' | 'sent' {
  const { now, isSameTopic, isMember, mayBeSent } = circumstances;
  const { topic, expiresAt = Number.POSITIVE_INFINITY } = scheduled.draft;
  if (expiresAt <= now || (isNamedTopic(topic) && !isSameTopic)) return 'dropped';
  return mayBeSent(toScheduled(scheduled), isMember) ? 'sent' : 'refused';
}

/** The message, sent now. */
export function sentNow({ draft, sendAt }: Scheduled, now: number): Draft {
  return { ...draft, timestamp: toIsoTime(now), scheduledFor: toIsoTime(sendAt) };
}
