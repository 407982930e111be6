/** What a handshake counts for: with addresses that no test machine has. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { HandshakeLimits, type Slot } from '../../../services/admission/handshake-limits';
import { HandshakeRate } from '../../../services/admission/handshake-rate';
import { createMetrics } from '../../../services/observability/metrics';
import { AppError } from '../../../utils/errors';
import { createClients } from '../../../utils/proxies';
import { StillClock } from '../../support/clock';
import { range } from '../../support/service';

function from(remoteAddress: string | undefined): IncomingMessage {
  const socket = Object.defineProperty(new Socket(), 'remoteAddress', { value: remoteAddress });
  return { socket, headers: {} } as IncomingMessage;
}

function openLimits(perAddress: number) {
  const config = {
    ...{ HANDSHAKES_PER_SECOND: 1_000, MAX_CONNECTIONS: 1_000, MAX_CONNECTIONS_PER_ADDRESS: perAddress },
    corsOrigins: '*' as const,
  };
  const limits = new HandshakeLimits({
    config,
    clock: new StillClock(),
    metrics: createMetrics(),
    heap: { isShort: () => false },
    clients: createClients({}),
  });
  limits.open();
  const admit = (address: string | undefined) =>
    new Promise<Slot | AppError>((resolve) => limits.admit(from(address), resolve));
  const isLetIn = async (address: string | undefined) => !((await admit(address)) instanceof AppError);
  return { limits, admit, isLetIn };
}

describe('an address', () => {
  it.each([
    ['2001:db8:1:ff01::1', '2001:db8:1:ffab:1234:5678:9abc:def0'],
    ['2001:db8:1:ff01::1', '2001:0DB8:0001:ff01:0:0:0:2'],
    ['fe80::1%eth0', 'fe80::2%eth0'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    [undefined, undefined],
  ])('%s is the same as %s', async (one, other) => {
    const { isLetIn } = openLimits(1);
    expect([await isLetIn(one), await isLetIn(other)]).toEqual([true, false]);
  });

  it.each([
    ['2001:db8:1:ff01::1', '2001:db8:1:fe01::1'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.2'],
    ['192.0.2.1', '192.0.2.2'],
    ['::1', '127.0.0.1'],
  ])('%s is another one than %s', async (one, other) => {
    const { isLetIn } = openLimits(1);
    expect([await isLetIn(one), await isLetIn(other)]).toEqual([true, true]);
  });
});

it('a place that is released twice is released once', async () => {
  const { admit, isLetIn } = openLimits(2);
  const [one, other] = [await admit('192.0.2.1'), await admit('192.0.2.1')];
  if (one instanceof AppError || other instanceof AppError) throw new Error('not let in');
  one.release();
  one.release();
  expect([await isLetIn('192.0.2.1'), await isLetIn('192.0.2.1')]).toEqual([true, false]);
});

it('what is in use and what waits is visible', async () => {
  const { limits, admit } = openLimits(5);
  const waiting = [admit('192.0.2.1'), admit('192.0.2.2')];
  expect([limits.taken, limits.waiting]).toEqual([2, 2]);
  for (const verdict of await Promise.all(waiting)) (verdict as Slot).release();
  expect([limits.taken, limits.waiting]).toEqual([0, 0]);
});

it('the place of an upgrade ends with its connection, before its turn and after it', async () => {
  const { limits } = openLimits(5);
  const [early, late] = [from('192.0.2.1'), from('192.0.2.1')];
  const answer = jest.fn();
  limits.admitUpgrade(early, answer);
  const isLetIn = new Promise((resolve) => limits.admitUpgrade(late, resolve));
  early.socket.destroy();
  await once(early.socket, 'close');
  expect(limits.taken).toBe(1);
  expect(await isLetIn).toBeUndefined();
  expect(answer).not.toHaveBeenCalled();
  late.socket.destroy();
  await once(late.socket, 'close');
  expect([limits.taken, limits.waiting]).toEqual([0, 0]);
});

describe('a handshake that waits for its turn', () => {
  it('has its place already', async () => {
    const { admit, isLetIn } = openLimits(1);
    const first = admit('192.0.2.1');
    expect(await isLetIn('192.0.2.1')).toBe(false);
    expect(await first).not.toBeInstanceOf(AppError);
  });

  it('releases it when its client has gone, and is not answered', async () => {
    const { limits, isLetIn } = openLimits(1);
    const request = from('192.0.2.1');
    const answer = jest.fn();
    limits.admit(request, answer);
    request.socket.destroy();
    // Behind it in the queue.
    expect(await isLetIn('192.0.2.2')).toBe(true);
    expect(answer).not.toHaveBeenCalled();
    expect(await isLetIn('192.0.2.1')).toBe(true);
  });

  it('is refused when the service begins to stop', async () => {
    const { limits, admit } = openLimits(1);
    const waiting = admit('192.0.2.1');
    limits.stop();
    expect(await waiting).toMatchObject({ code: 'going_away', retryAfterSeconds: 5 });
  });
});

it('each second begins again, even when the clock is set back', () => {
  const rate = new HandshakeRate(2);
  const accepted = (now: number) => range(1, 5).filter(() => rate.judge('a', now) === 'accepted').length;
  expect([accepted(10_000), accepted(10_999), accepted(11_000), accepted(5_000)]).toEqual([2, 0, 2, 2]);
});

it('one per second is still one for an address that shares it', () => {
  const rate = new HandshakeRate(1);
  expect([rate.judge('a', 0), rate.judge('b', 0), rate.judge('b', 1_000)]).toEqual([
    'accepted',
    'too-many',
    'accepted',
  ]);
});
