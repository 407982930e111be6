/** Changes of state, and networks that die without a word: what did not arrive comes again to a device that has a name. */

import { openClient } from '../support/client';
import { eventually } from '../support/eventually';
import { connectPlain } from '../support/plain-client';
import { startService, type TestService } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { type AnyClient, framesOf } from '../support/transports';

type Open = (url: string, service: TestService) => Promise<AnyClient>;

const overSocketIo =
  (...transports: string[]): Open =>
  async (url, service) => {
    const client = openClient(url, { auth: { token: service.token('anna'), device: 'phone' }, transports });
    await client.next('connected');
    return client;
  };

const WAYS: [name: string, open: Open][] = [
  ['Socket.IO over WebSocket', overSocketIo('websocket')],
  ['Socket.IO over polling', overSocketIo('polling')],
  ['Socket.IO that changes from polling to WebSocket', overSocketIo('polling', 'websocket')],
  ['plain WebSocket', (url) => connectPlain(url, 'anna', { device: 'phone' })],
];

describe.each(WAYS)('a named device over %s', (_name, open) => {
  async function start() {
    // A polling client whose connections end is gone when it does not answer a ping.
    const service = await startService({ env: { PING_INTERVAL_MS: '1000', PING_TIMEOUT_MS: '1000' } });
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    const [sent] = await service.send('anna', [1]);
    const mark = (state: string) =>
      service.anonymous
        .patch('/inbox')
        .set('Authorization', `Bearer ${service.token('anna')}`)
        .send({ ids: [sent?.id], state })
        .expect(200);
    const away = () =>
      eventually(
        () => service.api.get('/websocket/users/anna/status'),
        ({ body }) => body.connected === false,
      );
    return { service, proxy, mark, away, url: `http://127.0.0.1:${proxy.port}` };
  }

  const statesOf = (client: AnyClient) =>
    framesOf(client)
      .filter(({ event }) => event === 'state')
      .map(({ payload }) => payload['state']);

  it('receives again what was read while its network was dead', async () => {
    const { service, proxy, mark, away, url } = await start();
    const client = await open(url, service);
    await client.next('sync:done');
    await client.call('ack', { topic: '@anna', seq: 1 });
    proxy.lose('down');
    await mark('read');
    proxy.cut();
    await away();
    proxy.restore();
    const again = await open(url, service);
    await again.next('sync:done');
    expect(statesOf(again)).toEqual(['read']);
    expect(again.allMessages).toEqual([]);
  });

  it('does not receive again what has reached it', async () => {
    const { service, proxy, mark, away, url } = await start();
    const client = await open(url, service);
    await client.next('sync:done');
    for (const state of ['seen', 'read']) {
      await mark(state);
      await client.next('state');
    }
    // The sign that it arrived is on its way before this; over polling it is the next poll.
    await client.settle();
    await client.settle();
    proxy.lose('down');
    await mark('unread');
    proxy.cut();
    await away();
    proxy.restore();
    const again = await open(url, service);
    await again.next('sync:done');
    expect(statesOf(again)).toEqual(['unread']);
  });

  it('receives in the end what was read while it was offline, once', async () => {
    const { service, mark, away } = await start();
    const client = await open(service.url, service);
    await client.next('sync:done');
    client.close();
    await away();
    await mark('read');
    for (const expected of [['read'], []]) {
      const again = await open(service.url, service);
      await again.next('sync:done');
      await again.settle();
      expect(statesOf(again)).toEqual(expected);
      again.close();
      await away();
    }
  });
});
