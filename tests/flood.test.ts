/** Floods of what costs its sender nothing: one connection may not keep the event loop from the others. */
import { openPlain } from './support/plain-client';
import { startService } from './support/service';

it('acknowledgements are free up to twenty times the rate of events, and a flood of them is refused', async () => {
  const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '10' } });
  const client = openPlain(service.url, {
    path: '/ws?device=phone',
    headers: { Authorization: `Bearer ${service.token('anna')}` },
  });
  await client.next('sync:done');
  const { topic, seq } = { topic: '@anna', ...(await service.send('anna', [1]))[0] };
  await client.next('message');
  // The free ones, with their burst of four seconds, and as many events as there are.
  const accepted = 10 * 20 * 4 + 10 * 4;
  const frames = accepted + 400;
  for (let n = 0; n < frames; n += 1) client.send({ action: 'ack', topic, seq, ref: n });
  let refused = 0;
  for (let n = 0; n < frames; n += 1) {
    const reply = await client.next<{ ok: boolean; error?: { code: string } }>('reply');
    if (!reply.ok) {
      refused += 1;
      expect(reply.error?.code).toBe('rate_limited');
    }
  }
  expect(refused).toBeGreaterThan(0);
  expect(refused).toBeLessThanOrEqual(400);
});
