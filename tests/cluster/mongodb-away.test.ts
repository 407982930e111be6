/**
 * MongoDB down: sends are refused with a time to retry, connections stay, everything recovers. With real processes, and
 * a MongoDB that is silent or down for a moment: tests/chaos, F24.
 */
import { getWebSocketService } from '../../services/websocket';
import { MONGODB_URL, newDatabase } from '../support/cluster';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { startService } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { collectUncaught } from '../support/uncaught';

describeWith('MongoDB (TEST_MONGODB_URL)', MONGODB_URL !== undefined)('MongoDB', () => {
  it('down: 503 with Retry-After, live sockets stay, recovers by itself', async () => {
    const uncaught = collectUncaught();
    const direct = new URL(newDatabase());
    const proxy = await startTcpProxy({ host: direct.hostname, port: Number(direct.port) });
    const viaProxy = new URL(direct);
    viaProxy.host = `127.0.0.1:${proxy.port}`;
    const service = await startService({ env: { STORE_URL: viaProxy.href } });
    const client = await service.connect('anna', { device: 'phone' });
    await client.next('sync:done');
    await service.send('anna', [1]);
    await client.messages(1);

    proxy.cut();
    const message = { userId: 'anna', type: 'test', data: { n: 2 }, id: 'two' };
    const startedAt = performance.now();
    const refused = await service.api.post('/websocket/message/user').send(message);
    expect(performance.now() - startedAt).toBeLessThan(11_000);
    expect(refused.status).toBe(503);
    expect(refused.body).toMatchObject({ code: 'store_unavailable' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect((await service.anonymous.get('/readyz')).status).toBe(503);
    // Everything that needs the store reports it in the same words: requests, items of a batch, and embedding code.
    const item = { topic: 'news', type: 'test', data: 1 };
    const [batch, embedded, ...requests] = await Promise.all([
      service.api.post('/messages/batch').send({ messages: [item] }),
      getWebSocketService()
        .sendNotification('anna', 'title', 'body')
        .catch((error: unknown) => error),
      service.api.get('/topics'),
      service.api.get('/users/anna/export'),
      service.api.post('/websocket/message/users').send({ userIds: ['ben', 'carla'], type: 'test', data: 1 }),
    ]);
    expect(batch.body.results).toMatchObject([{ error: { code: 'store_unavailable' } }]);
    expect(embedded).toMatchObject({ code: 'store_unavailable' });
    for (const { status, body } of requests) expect([status, body.code]).toEqual([503, 'store_unavailable']);
    expect(await client.call('ping')).toMatchObject({ ok: true });

    proxy.restore();
    await eventually(
      () => service.anonymous.get('/readyz'),
      ({ status }) => status === 200,
    );
    // It may have been stored or not: repeated, it exists once.
    await service.api.post('/websocket/message/user').send(message).expect(200);
    await service.send('anna', [3]);
    await client.messages(2);
    expect(client.allMessages.map(({ data }) => (data as { n: number }).n)).toEqual([1, 2, 3]);
    expect(client.received.map(({ event }) => event)).not.toContain('disconnect');
    expect(uncaught).toEqual([]);
  });
});
