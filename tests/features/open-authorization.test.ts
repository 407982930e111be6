/** AUTHORIZATION=open: every valid token holds every scope, at every door. */
import { openPlain } from '../support/plain-client';
import { startService, type TestService } from '../support/service';

const start = () => startService({ env: { AUTHORIZATION: 'open' } });
const as = (service: TestService, userId: string) => ({ Authorization: `Bearer ${service.token(userId)}` });

it('operations with a scope need none over HTTP', async () => {
  const service = await start();
  const [{ id } = { id: '' }] = await service.send('ben', [1]);
  await service.api.post('/topics').send({ name: 'board', isPrivate: true }).expect(201);
  const { anonymous: api } = service;
  const headers = as(service, 'anna');
  await api.get(`/messages/${id}/receipts`).set(headers).expect(200);
  await api.patch(`/messages/${id}`).set(headers).send({ data: 2 }).expect(200);
  await api.delete(`/messages/${id}`).set(headers).expect(200);
  await api.post('/topics/board/messages').set(headers).send({ type: 'x', data: 1 }).expect(200);
  await api.get('/topics/board/messages').set(headers).expect(200);
  await api.delete('/topics/board').set(headers).expect(200);
  await api
    .post('/messages/batch')
    .set(headers)
    .send({ messages: [{ broadcast: true, type: 'x', data: 1 }] })
    .expect(200);
  await api.get('/users/ben/export').set(headers).expect(200);
  await api.delete('/users/ben/data').set(headers).expect(200);
  await api.get('/audit').set(headers).expect(200);
});

it('nor do they over sockets', async () => {
  const service = await startService({ env: { AUTHORIZATION: 'open', PRESENCE_PUBLIC: 'false' } });
  const client = await service.connect('anna');
  expect(await client.call('presence:subscribe')).toMatchObject({ ok: true });
  const plain = openPlain(service.url, { path: `/ws?token=${service.token('ben')}` });
  await plain.next('connected');
  plain.send({ action: 'presence', on: true, ref: 1 });
  expect(await plain.next('reply')).toMatchObject({ ref: 1, ok: true });
});
