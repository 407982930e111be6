/** What was scheduled is judged when it is due. */

import { as, createTopic, inboxOf, startWithClock } from '../features/callers';
import type { ShiftedClock } from '../support/clock';
import { eventually } from '../support/eventually';
import { startService, type TestService } from '../support/service';
import { TOPIC_DOORS } from './doors';

const LATER = { type: 'chat', data: 'later', delay: 60 };

/** Lets it be due, and waits until nothing waits any more. */
async function becomeDue(service: TestService, clock: ShiftedClock): Promise<void> {
  clock.shift(61_000);
  await eventually(
    async () => (await service.api.get('/scheduled').expect(200)).body.items.length,
    (count) => count === 0,
  );
}

const auditOf = async (service: TestService, actor: string) =>
  (await service.api.get(`/audit?action=drop&actor=${actor}`).expect(200)).body.items;

describe.each(TOPIC_DOORS)('over %s', (_name, say) => {
  it('sends later where they no longer may: dropped, and recorded', async () => {
    const { service, clock } = await startWithClock();
    await createTopic(service, 'news', { owner: 'anna', members: ['mallory', 'ben'] });
    const { answer } = await say(service, 'mallory', 'news', LATER);
    await say(service, 'ben', 'news', { ...LATER, data: 'from a member' });
    const mine = as(service, 'mallory');
    expect((await mine.get('/scheduled').expect(200)).body.items).toMatchObject([{ id: answer['id'] }]);
    await as(service, 'anna').delete('/topics/news/members/mallory').expect(200);
    await becomeDue(service, clock);
    const said = (await as(service, 'anna').get('/topics/news/messages').expect(200)).body.messages;
    expect(said).toMatchObject([{ from: 'ben', data: 'from a member' }]);
    expect((await mine.get('/scheduled').expect(200)).body.items).toEqual([]);
    expect(await auditOf(service, 'mallory')).toEqual([
      {
        ...{ id: expect.any(String), time: expect.any(String), actor: 'mallory', action: 'drop', outcome: 'done' },
        ...{ target: 'news', messageId: answer['id'], count: 1 },
      },
    ]);
    expect(await auditOf(service, 'ben')).toEqual([]);
  });
});

it('sends later where they no longer may: a user who has come back may again', async () => {
  const { service, clock } = await startWithClock();
  await createTopic(service, 'news', { owner: 'anna', members: ['ben'] });
  const ben = as(service, 'ben');
  await ben.post('/topics/news/messages').send(LATER).expect(202);
  await ben.delete('/topics/news/members/ben').expect(200);
  await ben.post('/topics/news/members').expect(200);
  await becomeDue(service, clock);
  expect((await ben.get('/topics/news/messages').expect(200)).body.messages).toHaveLength(1);
});

it('sends later where they no longer may: a scope held at the time is kept, a revoked token is not', async () => {
  const { service, clock } = await startWithClock();
  await createTopic(service, 'news', { owner: 'anna' });
  const later = { userId: 'anna', type: 'notification', data: 1, delay: 60 };
  for (const sender of ['shop', 'stolen']) {
    const api = as(service, sender, 'send');
    await api.post('/websocket/message/user').send(later).expect(202);
    await api.post('/topics/news/messages').send(LATER).expect(202);
    await as(service, sender, 'broadcast').post('/websocket/message/broadcast').send(LATER).expect(202);
  }
  await service.api
    .post('/users/stolen/revoke')
    .send({ issuedBefore: Math.floor(Date.now() / 1000) + 30 })
    .expect(200);
  await becomeDue(service, clock);
  const { items } = await inboxOf(as(service, 'anna'));
  expect(items.map(({ from, topic }) => `${from} ${topic}`).toSorted()).toEqual(['shop @anna', 'shop news']);
  expect(await auditOf(service, 'stolen')).toHaveLength(3);
});

it('sends later where they no longer may: nor to people, if that was switched off meanwhile', async () => {
  const { service, clock } = await startWithClock();
  const mallory = await service.connect('mallory');
  expect(await mallory.call('message', { to: 'anna', ...LATER })).toMatchObject({ ok: true });
  await service.stop();
  clock.shift(61_000);
  const { directory } = service;
  const again = await startService({ directory, overrides: { clock }, env: { DIRECT_MESSAGES: 'false' } });
  await becomeDue(again, clock);
  expect((await inboxOf(as(again, 'anna'))).items).toEqual([]);
  expect(await auditOf(again, 'mallory')).toHaveLength(1);
});

it('cancels messages that others have scheduled: they do not exist', async () => {
  const { service } = await startWithClock();
  await createTopic(service, 'news', { owner: 'anna', members: ['mallory'] });
  const anna = as(service, 'anna');
  await anna
    .post('/topics/news/messages')
    .send({ ...LATER, id: 'own' })
    .expect(202);
  const mallory = as(service, 'mallory');
  expect((await mallory.get('/scheduled').expect(200)).body.items).toEqual([]);
  await mallory.delete('/scheduled/own').expect(404);
  await mallory.delete('/scheduled/own?from=anna').expect(404);
  await anna.delete('/scheduled/own').expect(200);
});
