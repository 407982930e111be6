/** Messages beyond RETENTION_DAYS are removed, and devices that have not received them are notified. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { getWebSocketService } from '../services/websocket';
import type { Reply } from '../utils/protocol';
import { ShiftedClock } from './support/clock';
import { startService } from './support/service';

const DAY_MS = 86_400_000;

it('a device whose messages were removed receives sync:reset, and what is left', async () => {
  const clock = new ShiftedClock();
  const service = await startService({ overrides: { clock } });
  clock.shift(-61 * DAY_MS);
  for (const title of ['one', 'two', 'three']) await getWebSocketService().sendNotification('anna', title, '');
  clock.shift(61 * DAY_MS);
  for (const title of ['four', 'five']) await getWebSocketService().sendNotification('anna', title, '');

  // Starting sweeps once; the administrator watches until it is done.
  const again = await service.restart();
  const admin = await again.connect('admin', { scope: 'admin' });
  const kept = async () =>
    ((await admin.call('history', { topic: '@anna' })) as Reply & { messages: { seq: number }[] }).messages;
  while ((await kept()).length > 2) await nextTurn();

  const client = await again.connect('anna');
  expect(await client.next('sync:reset')).toEqual({ topic: '@anna', reason: 'retention', head: 5 });
  await client.next('sync:done');
  expect(client.allMessages.map(({ seq }) => seq)).toEqual([4, 5]);
  await getWebSocketService().sendNotification('anna', 'six', '');
  expect((await client.messages(3)).map(({ seq }) => seq)).toEqual([4, 5, 6]);
});
