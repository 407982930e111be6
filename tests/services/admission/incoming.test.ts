/** Events that wait in a connection: how many, how large, and until when. */

import { HeapGuard } from '../../../services/admission/heap-guard';
import { Incoming } from '../../../services/admission/incoming';
import type { Connection } from '../../../services/delivery/connections';
import { createMetrics } from '../../../services/observability/metrics';
import { type SessionParts, Sessions } from '../../../services/sockets/sessions';
import { parseConfig } from '../../../utils/config';
import { captureLog } from '../../support/captured-log';
import { clockAt } from '../../support/clock';

const MIB = 1024 * 1024;
const config = parseConfig({ SOCKET_EVENTS_PER_SECOND: '1000' });
const caller = { userId: 'anna', scopes: new Set<never>() };

function openSessions() {
  const clock = clockAt(() => 0);
  const metrics = createMetrics();
  const heap = new HeapGuard({
    maxBodyBytes: MIB,
    logger: captureLog().logger,
    readMemory: () => [{ used: 0, limit: 1024 * MIB }],
  });
  const incoming = new Incoming({ config, clock, metrics, heap });
  const sessions = new Sessions({
    config,
    clock,
    logger: captureLog().logger,
    metrics,
    heap,
    incoming,
  } as unknown as SessionParts);
  sessions.isOpen = true;
  const connection = { userId: 'anna', caller, isOpen: true, origin: '' };
  return {
    ...{ sessions, incoming, heap, connection },
    handle: (operation: () => object | Promise<object>, bytes: number) =>
      sessions.events.handle(connection as unknown as Connection, operation, { price: 1, bytes }),
  };
}

/** An operation that ends when it is told to. */
function openGate() {
  let open = (): void => undefined;
  const opened = new Promise<object>((resolve) => {
    open = () => resolve({});
  });
  return { open, operation: () => opened };
}

describe('events that wait for the one before them', () => {
  it('are limited in number', async () => {
    const { handle, sessions } = openSessions();
    const { open, operation } = openGate();
    const answers = Array.from({ length: 4_000 }, () => handle(operation, 10));
    expect(sessions.balance).toEqual({ eventsUnderWay: 4_000 });
    expect(await handle(operation, 10)).toMatchObject({ ok: false, error: { code: 'rate_limited' } });
    open();
    expect(await Promise.all(answers)).toEqual(answers.map(() => ({ ok: true })));
    expect(sessions.balance).toEqual({ eventsUnderWay: 0 });
  });

  it('are limited in bytes', async () => {
    const { handle, incoming } = openSessions();
    const { open, operation } = openGate();
    const answers = Array.from({ length: 4 }, () => handle(operation, MIB));
    expect(incoming.balance).toEqual({ incomingBytes: 4 * MIB, incomingUsers: 1 });
    expect(await handle(operation, MIB)).toMatchObject({ ok: false, error: { code: 'rate_limited' } });
    open();
    await Promise.all(answers);
    expect(incoming.balance).toEqual({ incomingBytes: 0, incomingUsers: 0 });
  });

  it('end with a connection that the service closes: none of them begins', async () => {
    const { handle, sessions, connection, incoming } = openSessions();
    const { open, operation } = openGate();
    const first = handle(operation, 100);
    const later = jest.fn(() => ({}));
    const answers = Array.from({ length: 10 }, () => handle(later, 100));
    sessions.events.queue.end(connection as unknown as Connection);
    open();
    expect(await first).toEqual({ ok: true });
    for (const answer of await Promise.all(answers)) expect(answer).toMatchObject({ error: { code: 'going_away' } });
    expect(later).not.toHaveBeenCalled();
    expect(incoming.bytes).toBe(0);
  });

  it('give back what they took when they fail at once', async () => {
    const { handle, incoming, sessions } = openSessions();
    const answer = await handle(() => {
      throw new RangeError('on purpose');
    }, 100).catch(() => 'thrown');
    expect(answer).not.toBe('thrown');
    expect([incoming.bytes, sessions.balance['eventsUnderWay']]).toEqual([0, 0]);
  });
});

describe('large bodies in flight', () => {
  it('have a share of memory for all, and small ones always have room', () => {
    const { incoming, heap } = openSessions();
    const gives: (() => void)[] = [];
    const expectOf = (n: number, bytes: number) =>
      gives.push(incoming.expect({ ...caller, userId: `user-${n}` }, bytes));
    expect(() => {
      for (let n = 0; n < 1_000; n += 1) expectOf(n, MIB);
    }).toThrow(expect.objectContaining({ code: 'overloaded' }));
    // An eighth of what may be used of 1 GiB.
    expect(gives.length).toBe(115);
    expectOf(2_000, 1024);
    for (const give of [...gives, ...gives]) give();
    expect(heap.balance['gatheredBytes']).toBe(0);
    expect(incoming.balance).toEqual({ incomingBytes: 0, incomingUsers: 0 });
  });
});
