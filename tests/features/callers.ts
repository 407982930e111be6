/** Who calls over HTTP, and what nearly every test of a feature asks for. */
import request from 'supertest';
import { ShiftedClock } from '../support/clock';
import { type ServiceOptions, startService, type TestService, testToken } from '../support/service';

export type Api = TestService['api'];

export const ISO_TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
export const DAY_MS = 86_400_000;

/** Longer than any test sets its clock forward. */
const LIFETIME_SECONDS = 400 * 86_400;

/** Requests of this user. */
export function as(service: Pick<TestService, 'url'>, userId: string, scope?: string): Api {
  const token = testToken(userId, { scope, lifetimeSeconds: LIFETIME_SECONDS });
  return request.agent(service.url).set('Authorization', `Bearer ${token}`);
}

/** A service and the clock that it goes by. */
export async function startWithClock(
  options: ServiceOptions = {},
): Promise<{ service: TestService; clock: ShiftedClock }> {
  const clock = new ShiftedClock();
  return { service: await startService({ ...options, overrides: { ...options.overrides, clock } }), clock };
}

/** An item of an inbox. */
export interface Item {
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
  readonly type: string;
  readonly data: unknown;
  readonly timestamp: string;
  readonly from: string;
  readonly state: string;
}

interface Listed {
  readonly items: Item[];
  readonly nextCursor: string | null;
  readonly counts: { unseen: number; unread: number };
}

/** The caller's inbox; its counts must be those that /inbox/counts gives. */
export async function inboxOf(api: Api, query = ''): Promise<Listed> {
  const listed = (await api.get(`/inbox${query}`).expect(200)).body as Listed;
  expect((await api.get('/inbox/counts').expect(200)).body).toEqual(listed.counts);
  return listed;
}

/** What the items of a list carry, in its order. */
export async function dataOf(api: Api, query = ''): Promise<unknown[]> {
  return (await inboxOf(api, query)).items.map(({ data }) => data);
}

export interface SendAnswer {
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
}

/** Sends to a user, by default as a service that may do everything. */
export async function sendTo(api: Api, userId: string, data: unknown, options: object = {}): Promise<SendAnswer> {
  const { body } = await api
    .post('/websocket/message/user')
    .send({ userId, type: 'test', data, ...options })
    .expect(200);
  return body as SendAnswer;
}

/** Sends to everyone. */
export async function broadcast(api: Api, data: unknown, options: object = {}): Promise<SendAnswer> {
  const { body } = await api
    .post('/websocket/message/broadcast')
    .send({ type: 'test', data, ...options })
    .expect(200);
  return body as SendAnswer;
}

/** Makes a public topic of its owner, with these other members. */
export async function createTopic(
  service: TestService,
  name: string,
  { owner, members = [] }: { owner: string; members?: readonly string[] },
): Promise<void> {
  await as(service, owner).post('/topics').send({ name }).expect(201);
  for (const userId of members) await as(service, userId).post(`/topics/${name}/members`).expect(200);
}

/** Says something in a topic. */
export async function say(api: Api, name: string, data: unknown, options: object = {}): Promise<SendAnswer> {
  const { body } = await api
    .post(`/topics/${name}/messages`)
    .send({ type: 'test', data, ...options })
    .expect(200);
  return body as SendAnswer;
}

/** Connects a user for the first time, so that broadcasts are theirs from now on, and leaves. */
export async function visit(service: TestService, userId: string): Promise<void> {
  const client = await service.connect(userId);
  await client.next('sync:done');
  client.close();
}
