/** Who a handshake counts for, and what is kept of it: addresses that no test machine has. */
import type { IncomingMessage } from 'node:http';
import { HandshakeLimits } from '../../services/handshake-limits';
import { HandshakeRate } from '../../services/handshake-rate';
import { createMetrics } from '../../services/metrics';
import { AppError } from '../../utils/errors';
import { StillClock } from '../support/clock';
import { range } from '../support/service';

const from = (remoteAddress: string | undefined) => ({ socket: { remoteAddress }, headers: {} }) as IncomingMessage;

function openLimits(perAddress: number) {
  const config = {
    ...{ HANDSHAKES_PER_SECOND: 1_000, MAX_CONNECTIONS: 1_000, MAX_CONNECTIONS_PER_ADDRESS: perAddress },
    corsOrigins: '*' as const,
  };
  const limits = new HandshakeLimits(config, new StillClock(), createMetrics(), { isShort: () => false });
  limits.open();
  return { limits, isLetIn: (address: string | undefined) => !(limits.admit(from(address)) instanceof AppError) };
}

describe('an address', () => {
  it.each([
    ['2001:db8:1:ff01::1', '2001:db8:1:ffab:1234:5678:9abc:def0'],
    ['2001:db8:1:ff01::1', '2001:0DB8:0001:ff01:0:0:0:2'],
    ['fe80::1%eth0', 'fe80::2%eth0'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    [undefined, undefined],
  ])('%s is the same as %s', (one, other) => {
    const { isLetIn } = openLimits(1);
    expect([isLetIn(one), isLetIn(other)]).toEqual([true, false]);
  });

  it.each([
    ['2001:db8:1:ff01::1', '2001:db8:1:fe01::1'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.2'],
    ['192.0.2.1', '192.0.2.2'],
    ['::1', '127.0.0.1'],
  ])('%s is another one than %s', (one, other) => {
    const { isLetIn } = openLimits(1);
    expect([isLetIn(one), isLetIn(other)]).toEqual([true, true]);
  });
});

it('a place that is given back twice is given back once', () => {
  const { limits, isLetIn } = openLimits(2);
  const [one, other] = [limits.admit(from('192.0.2.1')), limits.admit(from('192.0.2.1'))];
  if (one instanceof AppError || other instanceof AppError) throw new Error('not let in');
  one.release();
  one.release();
  expect([isLetIn('192.0.2.1'), isLetIn('192.0.2.1')]).toEqual([true, false]);
});

it('each second begins anew, also when the clock is set back', () => {
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
