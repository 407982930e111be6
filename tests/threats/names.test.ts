/** Topics with the names of people, and people who are added to topics. */
import type { Reply } from '../../utils/protocol';
import { as, dataOf, visit } from '../features/callers';
import { connectPlain } from '../support/plain-client';
import { startService, type TestService } from '../support/service';
import { type AnyClient, TRANSPORTS } from '../support/transports';

/** Makes a private topic of mallory with these members. */
async function trap(service: TestService, name: string, members: readonly string[]): Promise<void> {
  const mallory = as(service, 'mallory');
  await mallory.post('/topics').send({ name, isPrivate: true }).expect(201);
  for (const userId of members) await mallory.post(`/topics/${name}/members`).send({ userId }).expect(200);
}

const chat = async (client: AnyClient, topic_name: string): Promise<Reply> =>
  client.call('message', { topic_name, content: 'for Bob only' });

describe('a message to a person', () => {
  it('goes to a topic with that name: name_taken over every door', async () => {
    const service = await startService();
    await visit(service, 'bob');
    const { body } = await as(service, 'mallory').post('/topics').send({ name: 'bob', isPrivate: true }).expect(409);
    expect(body).toMatchObject({ code: 'name_taken', errors: [{ path: 'name' }] });
    const socket = await service.connect('mallory');
    expect(await socket.call('topic:create', { name: 'bob' })).toMatchObject({ error: { code: 'name_taken' } });
    const plain = await connectPlain(service.url, 'mallory');
    expect(await plain.call('create', { topic_name: 'bob' })).toMatchObject({
      error: { code: 'name_taken', errors: [{ path: 'topic_name' }] },
    });
    // A topic with one's own name, too, and one created by somebody else with that name: others would write to the
    // topic.
    expect(await plain.call('create', { topic_name: 'mallory' })).toMatchObject({ error: { code: 'name_taken' } });
    await service.api.post('/topics').send({ name: 'bob' }).expect(409);
  });

  it('goes to a topic that existed before the person: ambiguous_name', async () => {
    const service = await startService();
    await trap(service, 'bob', ['alice']);
    await visit(service, 'bob');
    const alice = await connectPlain(service.url, 'alice');
    const reply = await chat(alice, 'bob');
    expect(reply).toMatchObject({ ok: false, error: { status: 400, code: 'ambiguous_name' } });
    if (reply.ok) throw new Error('sent');
    expect(reply.error.detail).toContain('#bob');
    expect(reply.error.detail).toContain('@bob');
    expect(reply.error.errors).toMatchObject([{ path: 'topic_name' }]);
    expect(await dataOf(as(service, 'mallory'))).toEqual([]);
    expect(await chat(alice, '@bob')).toMatchObject({ ok: true, topic: '@bob' });
    expect(await chat(alice, '#bob')).toMatchObject({ ok: true, topic: 'bob' });
    expect(await dataOf(as(service, 'bob'))).toEqual([{ content: 'for Bob only' }]);
    // For users who are no members the topic does not exist: the name can only be that of the person.
    expect(await chat(await connectPlain(service.url, 'carl'), 'bob')).toMatchObject({ ok: true, topic: '@bob' });
  });

  it('closes the connection of the sender: an ambiguous name is no bad frame', async () => {
    const service = await startService();
    await trap(service, 'bob', ['alice']);
    await visit(service, 'bob');
    const alice = await connectPlain(service.url, 'alice');
    for (let n = 0; n < 12; n += 1) await chat(alice, 'bob');
    expect(await alice.call('ping')).toMatchObject({ ok: true });
  });

  it('finds topics by #name only where allowed: 404 and 403 as elsewhere', async () => {
    const service = await startService();
    await trap(service, 'lair', []);
    await as(service, 'mallory').post('/topics').send({ name: 'news' }).expect(201);
    const alice = await connectPlain(service.url, 'alice');
    for (const name of ['#lair', '#nowhere']) {
      expect(await chat(alice, name)).toMatchObject({
        error: { code: 'not_found', errors: [{ path: 'topic_name', message: 'there is no such topic' }] },
      });
    }
    expect(await chat(alice, '#news')).toMatchObject({ error: { code: 'not_a_member' } });
    expect(await chat(alice, 'news')).toMatchObject({ error: { code: 'not_a_member' } });
    for (const name of ['#', '#@bob', '##x', '#a b']) {
      expect(await chat(alice, name)).toMatchObject({ error: { code: 'bad_request' } });
    }
  });
});

describe.each(TRANSPORTS)('over %s', (name, connect) => {
  it('adds people to a topic unnoticed: topic:joined on every connection', async () => {
    const service = await startService();
    const [phone, laptop] = [
      await connect(service, 'alice', { device: 'phone' }),
      await connect(service, 'alice', { device: 'laptop' }),
    ];
    for (const device of [phone, laptop]) await device.next('sync:done');
    await trap(service, 'lair', ['alice']);
    const joined = { name: 'lair', isPrivate: true, by: 'mallory' };
    expect(await phone.next('topic:joined')).toEqual(joined);
    expect(await laptop.next('topic:joined')).toEqual(joined);
    // Repeating it changes nothing, and a user who joins learns it from the answer.
    await as(service, 'mallory').post('/topics/lair/members').send({ userId: 'alice' }).expect(200);
    await as(service, 'mallory').post('/topics').send({ name: 'news' }).expect(201);
    if (name === 'Socket.IO') await phone.call('topic:join', { name: 'news' });
    else await phone.call('subscribe', { topic_name: 'news' });
    await as(service, 'alice').post('/topics/news/members').send({ userId: 'alice' }).expect(200);
    for (const device of [phone, laptop]) {
      await device.settle();
      expect(device.received.filter(({ event }) => event === 'topic:joined')).toHaveLength(1);
    }
  });
});

describe('the topics of a person', () => {
  const env = { MAX_TOPICS_PER_USER: '3', MAX_INVITED_TOPICS_PER_USER: '2' };

  it('fills the topics of a person: invitee_full, and the person may still create and join', async () => {
    const service = await startService({ env });
    const [mallory, alice] = [as(service, 'mallory'), as(service, 'alice')];
    for (const name of ['one', 'two', 'three']) await mallory.post('/topics').send({ name }).expect(201);
    await as(service, 'shop').post('/topics').send({ name: 'shop' }).expect(201);
    for (const name of ['one', 'two']) {
      await mallory.post(`/topics/${name}/members`).send({ userId: 'alice' }).expect(200);
    }
    const { body } = await mallory.post('/topics/three/members').send({ userId: 'alice' }).expect(403);
    expect(body.code).toBe('invitee_full');
    // Whoever is a member already changes nothing.
    await mallory.post('/topics/one/members').send({ userId: 'alice' }).expect(200);
    const many = { userIds: ['alice', 'ben', 'mallory'] };
    const { results } = (await mallory.post('/topics/three/members').send(many).expect(200)).body;
    expect(results).toMatchObject([{ error: { code: 'invitee_full' } }, { userId: 'ben' }, { userId: 'mallory' }]);
    for (const name of ['hers', 'more']) await alice.post('/topics').send({ name }).expect(201);
    await alice.post('/topics/shop/members').expect(200);
    expect((await alice.post('/topics').send({ name: 'fourth' }).expect(403)).body.code).toBe('too_many_topics');
    expect((await alice.post('/topics/three/members').expect(403)).body.code).toBe('too_many_topics');
    // Whoever leaves makes room for one of the kind.
    await alice.delete('/topics/one/members/alice').expect(200);
    expect((await alice.post('/topics/three/members').expect(403)).body.code).toBe('too_many_topics');
    await mallory.post('/topics/three/members').send({ userId: 'alice' }).expect(200);
  });

  it.each(TRANSPORTS)('fills the topics of a person: invitee_full over %s', async (name, connect) => {
    const service = await startService({ env });
    for (const topic of ['one', 'two']) await trap(service, topic, ['alice']);
    await trap(service, 'three', []);
    const mallory = await connect(service, 'mallory');
    const reply =
      name === 'Socket.IO'
        ? await mallory.call('topic:invite', { name: 'three', userId: 'alice' })
        : await mallory.call('invite', { topic_name: 'three', username: 'alice' });
    expect(reply).toMatchObject({ ok: false, error: { code: 'invitee_full', status: 403 } });
  });
});
