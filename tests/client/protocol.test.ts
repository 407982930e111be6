/** The client package repeats the shapes of the wire: here they are compared with the service's own. */
import type * as client from '../../client/src';
import { fromProblem } from '../../client/src/errors';
import { SERVER_EVENTS as CLIENT_SERVER_EVENTS } from '../../client/src/protocol';
import { RETRY_SECONDS, retryIn } from '../../client/src/retry';
import type { InboxAnswer, StateAnswer } from '../../handlers/inbox';
import type { ScheduledSendAnswer, SendAnswer } from '../../handlers/send-answer';
import type { TopicAnswer } from '../../handlers/topics';
import type * as errors from '../../utils/errors';
import { ERROR_KINDS } from '../../utils/errors';
import type * as service from '../../utils/protocol';
import {
  CLOSING_CODES,
  type Closing,
  type ClosingCode,
  type Counts,
  REQUESTED_STATES,
  SERVER_EVENTS,
} from '../../utils/protocol';

type IsSame<One, Other> = [One] extends [Other] ? ([Other] extends [One] ? true : false) : false;

/** Does not compile unless both types accept each other. */
function same<One, Other>(isSame: IsSame<One, Other>): boolean {
  return isSame;
}

/** Does not compile unless what the service sends is what the client expects. */
function fits<Sent extends Expected, Expected>(): boolean {
  return [] as Sent[] satisfies Expected[] as unknown as boolean;
}

it('has the same shapes', () => {
  const held = [
    same<client.ProblemCode, errors.ErrorCode>(true),
    same<client.Problem, errors.Problem>(true),
    same<client.ClosingCode, ClosingCode>(true),
    same<client.Closing, Closing>(true),
    same<client.Counts, Counts>(true),
    same<client.MessageState, service.MessageState>(true),
    same<client.RequestedState, service.RequestedState>(true),
    same<client.MessageRemoved['reason'], service.RemovalReason>(true),
    same<client.Topic, TopicAnswer>(true),
    same<client.StateAnswer, StateAnswer>(true),
    same<keyof client.InboxPage, keyof InboxAnswer>(true),
    fits<SendAnswer, client.SendAnswer>(),
    fits<ScheduledSendAnswer, client.SendAnswer>(),
    fits<service.Message, client.Message>(),
  ];
  expect(held).toHaveLength(14);
});

it('knows the names that the service uses itself', () => {
  expect([...CLIENT_SERVER_EVENTS]).toEqual([...SERVER_EVENTS]);
});

it('names every closing code and state', () => {
  const closing: Record<client.ClosingCode, true> = {
    slow_consumer: true,
    token_expired: true,
    revoked: true,
    disconnected: true,
    logged_out: true,
    rate_limited: true,
    bad_frames: true,
    too_many_connections: true,
    going_away: true,
  };
  const states: Record<client.RequestedState, true> = { seen: true, read: true, unread: true, archived: true };
  expect(Object.keys(closing)).toEqual([...CLOSING_CODES]);
  expect(Object.keys(states)).toEqual([...REQUESTED_STATES]);
});

it('repeats what the error catalogue calls worth repeating, after its time', () => {
  const undone = Object.entries(ERROR_KINDS as Record<errors.ErrorCode, ReturnType<typeof errors.kindOf>>).flatMap(
    ([code, { retryAfterSeconds, mayBeDone }]) =>
      retryAfterSeconds === undefined || mayBeDone ? [] : [[code, retryAfterSeconds] as const],
  );
  expect(RETRY_SECONDS).toEqual(Object.fromEntries(undone));
});

const refusal = (code: client.ProblemCode, retryInMs?: number) =>
  fromProblem({ type: '', title: '', status: 0, detail: '', code, ...(retryInMs === undefined ? {} : { retryInMs }) });

it.each([
  ['what the service says wins', refusal('overloaded', 40_000), false, 40_000],
  ['an older service says nothing', refusal('overloaded'), false, 5_000],
  ['it may be done already, and once more changes nothing', refusal('store_unavailable', 5_000), true, 5_000],
  ['it may be done already, and once more is another', refusal('store_unavailable', 5_000), false, undefined],
  ['a code of a newer service', refusal('newer' as client.ProblemCode, 2_000), true, 2_000],
  ['it cannot succeed', refusal('bad_request'), true, undefined],
])('repeating: %s', (_case, error, mayRepeat, milliseconds) => {
  const pause = retryIn(error, mayRepeat);
  if (milliseconds === undefined) expect(pause).toBeUndefined();
  else expect((pause ?? 0) / milliseconds).toBeCloseTo(1.05, 1);
});
