/** A service that sends what no service of ours sends: nothing of it ends the process of a client, or keeps it busy. */
import fc from 'fast-check';
import type { Socket } from 'socket.io';
import { z } from 'zod';
import type { TidingsClient } from '../../client/src';
import { isFrame } from '../../client/src/shapes';
import { serverPayloads } from '../../utils/frames';
import { type JsonSchema, mutated, valuesOf } from '../fuzz/inputs';
import { testToken } from '../support/service';
import { collectUncaught } from '../support/uncaught';
import { letIn, openClient, startFakeService, until } from './support';

const CLOSING = { code: 'going_away', reason: 'x' };
const GOOD = { id: 'm', topic: '@anna', seq: 1, type: 'chat', data: 1, timestamp: '2026-01-01T00:00:00Z', from: 'b' };

/** Answers every event with this. */
function answerWith(socket: Socket, reply: unknown): void {
  socket.onAny((...args: unknown[]) => {
    const answer = args.at(-1);
    if (typeof answer === 'function') answer(reply);
  });
}

function open(url: string): ReturnType<typeof openClient> {
  return openClient(url, { token: testToken('anna'), timeoutMs: 3_000 });
}

async function nextMessage(client: TidingsClient): Promise<unknown> {
  return new Promise((resolve) => {
    client.on('message', ({ data }) => resolve(data));
  });
}

/** What the service may send by its own description. */
function payloadsOf(shape: z.ZodType): fc.Arbitrary<unknown> {
  const schema = z.toJSONSchema(shape) as { readonly $defs?: Readonly<Record<string, JsonSchema>> };
  return valuesOf({ ...schema }, (reference) => schema.$defs?.[reference.replace('#/$defs/', '')] ?? false);
}

describe('closed again and again', () => {
  it.each([0, -5, 'abc', undefined, {}])('a client pauses, though retryInMs is %p', async (retryInMs) => {
    const uncaught = collectUncaught();
    const { url, times } = await startFakeService((socket) => {
      letIn(socket);
      socket.emit('closing', { ...CLOSING, retryInMs });
    });
    open(url);
    await until(
      () => times.length,
      (connections) => connections >= 3,
    );
    const [, second = 0, third = 0] = times;
    // The shortest that the second pause may be: the first one follows the service.
    expect(third - second).toBeGreaterThan(450);
    expect(uncaught).toEqual([]);
  });

  it('for its token, a client does not fetch tokens without a pause', async () => {
    const { url, times } = await startFakeService((socket) => {
      letIn(socket);
      socket.emit('closing', { code: 'token_expired', reason: 'x', retryInMs: null });
    });
    let calls = 0;
    openClient(url, {
      token: () => {
        calls += 1;
        return testToken('anna', { lifetimeSeconds: 100 + calls });
      },
    });
    await until(
      () => times.length,
      (connections) => connections >= 3,
    );
    const [, second = 0, third = 0] = times;
    expect(third - second).toBeGreaterThan(450);
  });
});

it('a refusal that says "at once" is not repeated at once', async () => {
  let calls = 0;
  const { url } = await startFakeService((socket) => {
    letIn(socket);
    socket.onAny(() => {
      calls += 1;
    });
    const error = { type: '', title: '', status: 429, code: 'rate_limited', detail: 'x', retryInMs: 0 };
    answerWith(socket, { ok: false, error });
  });
  await expect(open(url).send({ to: 'bob', type: 'chat', data: 1 })).rejects.toMatchObject({ code: 'rate_limited' });
  expect(calls).toBeLessThanOrEqual(3);
});

it.each([null, {}, 5, { ok: false }, { ok: false, error: {} }, { ok: true }])(
  'an answer of another kind is an error of the package: %j',
  async (reply) => {
    const { url } = await startFakeService((socket) => {
      letIn(socket);
      answerWith(socket, reply);
    });
    const client = open(url);
    const unexpected = { name: 'TidingsError', code: 'unexpected_answer' };
    await expect(client.send({ to: 'bob', type: 'chat', data: 1 })).rejects.toMatchObject(unexpected);
    await expect(client.topics.list()).rejects.toMatchObject(unexpected);
    await expect(client.history('news')).rejects.toMatchObject(unexpected);
    await expect(client.inbox.markRead('m')).rejects.toMatchObject(unexpected);
    await expect(client.inbox.markRead('all')).rejects.toMatchObject(unexpected);
  },
);

describe('frames', () => {
  it.each([
    ['authenticated', null],
    ['closing', null],
    ['closing', { code: 5, reason: 'x', retryInMs: 0 }],
    ['sync:done', null],
    ['sync:done', { cursors: {}, counts: null }],
    ['sync:reset', null],
    ['message', null],
    ['message', { ...GOOD, seq: '3' }],
    ['message', { ...GOOD, seq: -1 }],
    ['message', { ...GOOD, counts: 'x' }],
    ['message', { ...GOOD, timestamp: {} }],
    ['message:updated', null],
    ['message:removed', null],
    ['state', null],
    ['state', { ids: 5, state: 'read' }],
    ['state', { ids: ['m'], state: 'unknown' }],
    ['presence', { users: 5 }],
    ['presence:join', null],
    ['presence:leave', {}],
    ['typing', 'x'],
    ['auth:expiring', null],
    ['custom', 1, { id: 1, topic: {} }],
  ])('of another shape are reported and dropped: %s %j', async (event, ...args) => {
    const uncaught = collectUncaught();
    const { url } = await startFakeService((socket) => {
      letIn(socket);
      socket.emit(event, ...args);
      socket.emit('message', GOOD);
    });
    const client = open(url);
    expect(await nextMessage(client)).toBe(1);
    expect([uncaught, client.errors]).toEqual([[], ['unexpected_frame']]);
  });

  const EVENTS = Object.entries(serverPayloads);

  it.each(EVENTS)('as the service describes them are taken: %s', (event, payload) => {
    const sent = fc.sample(payloadsOf(payload), { numRuns: 100, seed: 16 });
    expect(sent.filter((value) => payload.safeParse(value).success && !isFrame(event, [value]))).toEqual([]);
  });

  it('that are changed in any way leave the client working', async () => {
    const uncaught = collectUncaught();
    const { url } = await startFakeService((socket) => {
      letIn(socket);
      for (const [event, payload] of EVENTS.filter(([name]) => name !== 'closing')) {
        for (const value of fc.sample(mutated(payloadsOf(payload)), { numRuns: 40, seed: 16 }))
          socket.emit(event, value);
      }
      socket.emit('message', { ...GOOD, topic: 'after all' });
    });
    const client = open(url);
    client.presence.subscribe(() => undefined);
    client.inbox.subscribe(() => undefined);
    await new Promise<void>((resolve) => {
      client.on('message', ({ topic }) => {
        if (topic === 'after all') resolve();
      });
    });
    expect(uncaught).toEqual([]);
    expect(client.errors).toContain('unexpected_frame');
  });
});
