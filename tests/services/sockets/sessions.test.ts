/** What cannot be timed from outside: a token that is revoked between its check and the entry of its connection. */
import type { Connection } from '../../../services/delivery/connections';
import { type SessionParts, Sessions } from '../../../services/sockets/sessions';
import { parseConfig } from '../../../utils/config';
import { clockAt } from '../../support/clock';

it('a connection whose token was revoked meanwhile is closed instead of being listed and greeted', () => {
  const nothing = { detach: () => undefined, leave: () => undefined, unwatch: () => undefined, isShared: false };
  const arrived = jest.fn();
  const sessions = new Sessions({
    config: parseConfig({}),
    clock: clockAt(() => 0),
    connections: { countOf: () => 0 },
    delivery: nothing,
    presence: nothing,
    reads: nothing,
    cluster: nothing,
    roster: { arrived, departed: () => undefined },
    refusalOf: ({ userId }: { userId: string }) => (userId === 'anna' ? 'The token was revoked.' : undefined),
  } as unknown as SessionParts);
  const send = jest.fn();
  const close = jest.fn();
  sessions.enter({ userId: 'anna', caller: { userId: 'anna' }, send, close } as unknown as Connection);
  expect(close.mock.calls).toEqual([
    [{ code: 'revoked', reason: expect.any(String), retryInMs: null }, { isFinal: true }],
  ]);
  expect(arrived).not.toHaveBeenCalled();
  expect(send).not.toHaveBeenCalled();
});
