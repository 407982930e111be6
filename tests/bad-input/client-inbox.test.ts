/** Bad input in changes of the inbox, and in send options, over both transports from one table. */
import type { Problem } from '../../utils/errors';
import { expectProblem, type Refusal } from '../support/problems';
import { startService, type TestService } from '../support/service';
import { countRefusals } from '../support/shared-service';
import { forAllTests } from '../support/temporary';
import { type AnyClient, framesOf, TRANSPORTS } from '../support/transports';

const badRequest = (path: string): Refusal => ({ status: 400, code: 'bad_request', path });
const notFound = (path: string): Refusal => ({ status: 404, code: 'not_found', path });

/** Message ids: one of anna's, and one that is only ben's. */
const OWN = 'own';
const FOREIGN = 'foreign';
const one = { ids: [OWN] };

const STATES: [name: string, fields: object, refusal: Refusal][] = [
  ['no state', { ...one }, badRequest('state')],
  ['an unknown state', { ...one, state: 'unseen' }, badRequest('state')],
  ['a state in a list', { ...one, state: ['read'] }, badRequest('state')],
  ['an object as state', { ...one, state: { $ne: null } }, badRequest('state')],
  ['no selection', { state: 'read' }, badRequest('ids')],
  ['two selections', { ...one, all: true, state: 'read' }, badRequest('ids')],
  ['no ids', { ids: [], state: 'read' }, badRequest('ids')],
  ['ids that are a text', { ids: OWN, state: 'read' }, badRequest('ids')],
  ['ids that are null', { ids: null, state: 'read' }, badRequest('ids')],
  ['an id that is a number', { ids: [OWN, 1], state: 'read' }, badRequest('ids.1')],
  ['an id that is too long', { ids: ['a'.repeat(65)], state: 'read' }, badRequest('ids.0')],
  ['too many ids', { ids: Array.from({ length: 1_001 }, () => OWN), state: 'read' }, badRequest('ids')],
  ['all that is false', { all: false, state: 'read' }, badRequest('all')],
  ['all that is a text', { all: 'true', state: 'read' }, badRequest('all')],
  ['upTo without a topic', { ...one, upTo: 1, state: 'read' }, badRequest('upTo')],
  ['upTo that is negative', { topic: '@anna', upTo: -1, state: 'read' }, badRequest('upTo')],
  ['upTo that is a text', { topic: '@anna', upTo: '1', state: 'read' }, badRequest('upTo')],
  ['upTo that is broken', { topic: '@anna', upTo: 0.5, state: 'read' }, badRequest('upTo')],
  ['upTo ahead of the topic', { topic: '@anna', upTo: 2, state: 'read' }, badRequest('upTo')],
  ['an unknown id', { ids: ['unknown'], state: 'read' }, notFound('ids.0')],
  ['an id of somebody else among own ones', { ids: [OWN, FOREIGN], state: 'read' }, notFound('ids.1')],
  ['the topic of somebody else', { topic: '@ben', state: 'read' }, notFound('topic')],
  ['a topic one is not in', { topic: 'club', state: 'read' }, notFound('topic')],
];

const OPTIONS: [option: string, fields: object][] = [
  ...[-1, 0, 1.5, 31_536_001, '60', null, [60], { $gt: 0 }].map((ttl): [string, object] => ['ttl', { ttl }]),
  ...[-1, 1.5, 31_536_001, '60', null].map((delay): [string, object] => ['delay', { delay }]),
  ...['2001-01-01T00:00:00Z', '+275761-01-01T00:00:00Z', 'never', 4_102_444_800_000, null].flatMap(
    (time): [string, object][] => [
      ['expiresAt', { expiresAt: time }],
      ['sendAt', { sendAt: time }],
    ],
  ),
  ...['', 'a'.repeat(129), 7, null, {}].map((collapseKey): [string, object] => ['collapseKey', { collapseKey }]),
  ...['', 7, null, []].map((exceptUserId): [string, object] => ['exceptUserId', { exceptUserId }]),
  ['exceptUserId', { exceptUserId: 'carla' }],
  ['ttl', { ttl: 60, expiresAt: '2099-01-01T00:00:00Z' }],
  ['delay', { delay: 60, sendAt: '2099-01-01T00:00:00Z' }],
  ['ttl', { ttl: 60, persist: false }],
];

describe.each(TRANSPORTS)('over %s,', (_name, connect) => {
  let service: TestService;
  let anna: AnyClient;
  let laptop: AnyClient;

  // One for all rows: each has to leave it unchanged.
  beforeAll(async () => {
    service = await forAllTests(() => startService());
    await service.api.post('/topics').send({ name: 'club', isPrivate: true }).expect(201);
    for (const [userId, id] of [
      ['anna', OWN],
      ['ben', FOREIGN],
    ]) {
      const message = { userId, type: 'test', data: id, id };
      await service.api.post('/websocket/message/user').send(message).expect(200);
    }
  });

  beforeEach(async () => {
    anna = await connect(service, 'anna', { device: 'phone' });
    laptop = await connect(service, 'anna', { device: 'laptop' });
    for (const client of [anna, laptop]) await client.next('sync:done');
  });

  async function inbox(): Promise<{ items: { id: string; state: string }[]; counts: object }> {
    const authorization = `Bearer ${service.token('anna')}`;
    return (await service.anonymous.get('/inbox').set('Authorization', authorization).expect(200)).body;
  }

  async function expectRefused(name: string, fields: object, refusal: Refusal): Promise<void> {
    const before = await inbox();
    const counted = await countRefusals(service.url, refusal.code);
    const reply = await anna.call(name, fields);
    expect(reply.ok).toBe(false);
    expectProblem((reply as { readonly error: Problem }).error, refusal);
    expect(await countRefusals(service.url, refusal.code)).toBe(counted + 1);
    await laptop.settle();
    expect(await inbox()).toEqual(before);
    expect(framesOf(laptop).filter(({ event }) => event === 'state')).toEqual([]);
  }

  it.each(STATES)('state refuses %s', async (_row, fields, refusal) => {
    await expectRefused('state', fields, refusal);
    // The connection is unimpaired.
    for (const state of ['read', 'unread']) {
      expect(await anna.call('state', { ...one, state })).toMatchObject({ ok: true, changed: 1 });
    }
  });

  it.each(OPTIONS)('a message refuses the option %s: %j', async (option, fields) => {
    const message = { to: 'ben', topic_name: '@ben', type: 'test', data: 1, ...fields };
    await expectRefused('message', message, badRequest(option));
  });
});
