/** Counts that were reckoned here are compared with the service after a while, and a list that failed is read again. */
import type { InboxItem, InboxPage } from '../../client/src';
import type { Calls } from '../../client/src/calls';
import { TidingsError } from '../../client/src/errors';
import { Inbox, type InboxEvent } from '../../client/src/inbox';
import type { Rest } from '../../client/src/rest';
import { range } from '../support/service';

const EMPTY_PAGE: InboxPage = { items: [], nextCursor: null, counts: { unseen: 0, unread: 0 } };
const MINUTE_MS = 60_000;

beforeEach(() => {
  jest.useFakeTimers();
  // In the middle: 17.5 seconds until counts are compared, three quarters of a pause.
  jest.spyOn(Math, 'random').mockReturnValue(0.5);
});
afterEach(() => {
  jest.restoreAllMocks();
  jest.useRealTimers();
});

/** An inbox in use, over a service that answers with these functions. */
function openInbox(answers: { list?: () => Promise<InboxPage>; counts?: () => Promise<object> }) {
  const { list = async () => EMPTY_PAGE, counts = async () => ({ unseen: 7, unread: 7 }) } = answers;
  const asked: string[] = [];
  const get = (path: string) => {
    asked.push(path);
    return path === '/inbox' ? list() : counts();
  };
  const errors: string[] = [];
  const report = ({ code }: TidingsError) => errors.push(code);
  const inbox = new Inbox({ calls: {} as Calls, rest: { get } as unknown as Rest, report, userId: () => 'anna' });
  inbox.subscribe(() => undefined);
  inbox.synced({ unseen: 0, unread: 0 });
  return { inbox, asked, errors };
}

function broadcast(seq: number): InboxEvent {
  const timestamp = new Date(seq).toISOString();
  const item: InboxItem = { id: `b${seq}`, topic: '*', seq, type: 't', data: 0, timestamp, from: 'x', state: 'unseen' };
  return { kind: 'message', item, counts: undefined };
}

it.each([
  [0, 5_000],
  [0.5, 17_500],
  [0.999, 29_975],
])('are compared once for everything that arrived: with %p drawn after %p ms', async (drawn, milliseconds) => {
  jest.mocked(Math.random).mockReturnValue(drawn);
  const { inbox, asked } = openInbox({});
  await jest.advanceTimersByTimeAsync(0);
  for (const seq of [1, 2, 3]) inbox.receive(broadcast(seq));
  expect(inbox.counts).toEqual({ unseen: 3, unread: 3 });
  await jest.advanceTimersByTimeAsync(milliseconds - 1);
  expect(asked).toEqual(['/inbox']);
  await jest.advanceTimersByTimeAsync(1);
  expect(asked).toEqual(['/inbox', '/inbox/counts']);
  expect(inbox.counts).toEqual({ unseen: 7, unread: 7 });
  await jest.advanceTimersByTimeAsync(MINUTE_MS);
  expect(asked).toHaveLength(2);
});

it('are requested again when newer ones came while they were in flight', async () => {
  let answers = 0;
  const { inbox } = openInbox({
    counts: async () => {
      answers += 1;
      if (answers === 1) inbox.receive({ kind: 'state', ids: ['x'], state: 'seen', counts: { unseen: 1, unread: 2 } });
      return { unseen: answers, unread: answers };
    },
  });
  inbox.receive(broadcast(1));
  await jest.advanceTimersByTimeAsync(30_000);
  expect([answers, inbox.counts]).toEqual([1, { unseen: 1, unread: 2 }]);
  await jest.advanceTimersByTimeAsync(30_000);
  expect([answers, inbox.counts]).toEqual([2, { unseen: 2, unread: 2 }]);
});

it('are requested again when something came without counts while they were in flight', async () => {
  let answers = 0;
  const { inbox } = openInbox({
    counts: async () => {
      answers += 1;
      if (answers === 1) inbox.receive(broadcast(2));
      return { unseen: answers, unread: answers };
    },
  });
  inbox.receive(broadcast(1));
  await jest.advanceTimersByTimeAsync(17_500);
  expect([answers, inbox.counts]).toEqual([1, { unseen: 2, unread: 2 }]);
  await jest.advanceTimersByTimeAsync(17_500);
  expect(answers).toBe(2);
});

it('are not requested after the end', async () => {
  const { inbox, asked } = openInbox({});
  inbox.receive(broadcast(1));
  await inbox.close();
  await jest.advanceTimersByTimeAsync(MINUTE_MS);
  expect([asked, jest.getTimerCount()]).toEqual([['/inbox'], 0]);
});

it('come with a list that is read again, at growing intervals, when it could not be', async () => {
  let attempts = 0;
  const { inbox, errors } = openInbox({
    list: async () => {
      attempts += 1;
      if (attempts <= 3) throw new TidingsError('unreachable', 'away');
      return EMPTY_PAGE;
    },
  });
  const after: number[] = [];
  for (const milliseconds of [749, 1, 1_499, 1, 2_999, 1]) {
    await jest.advanceTimersByTimeAsync(milliseconds);
    after.push(attempts);
  }
  expect(after).toEqual([1, 2, 2, 3, 3, 4]);
  expect(inbox.snapshot.isLoaded).toBe(true);
  expect(errors).toEqual(['unreachable', 'unreachable', 'unreachable']);
});

it('stay those of the socket when a list is older, and include what came while it was read', async () => {
  let answer: (page: InboxPage) => void = () => undefined;
  const { inbox } = openInbox({ list: () => new Promise((resolve) => (answer = resolve)) });
  inbox.receive({ ...broadcast(2), counts: { unseen: 4, unread: 5 } } as InboxEvent);
  answer(EMPTY_PAGE);
  await jest.advanceTimersByTimeAsync(0);
  expect([inbox.items.map(({ id }) => id), inbox.counts]).toEqual([['b2'], { unseen: 4, unread: 5 }]);
});

it.each(range(0, 8))('come with a list that includes what came %p turns after its answer', async (turns) => {
  let answer: (page: InboxPage) => void = () => undefined;
  const { inbox } = openInbox({ list: () => new Promise((resolve) => (answer = resolve)) });
  answer(EMPTY_PAGE);
  for (let turn = 0; turn < turns; turn += 1) await undefined;
  inbox.receive(broadcast(1));
  await jest.advanceTimersByTimeAsync(0);
  expect([inbox.items.map(({ id }) => id), inbox.snapshot.isLoaded]).toEqual([['b1'], true]);
});

it('come with a short list again after very many messages', async () => {
  const { inbox, asked } = openInbox({});
  await jest.advanceTimersByTimeAsync(0);
  for (let seq = 1; seq <= 501; seq += 1)
    inbox.receive({ ...broadcast(seq), counts: { unseen: seq, unread: seq } } as InboxEvent);
  await jest.advanceTimersByTimeAsync(0);
  expect([asked.length, inbox.items.length]).toEqual([2, 0]);
});

it('does not grow without end while a connection catches up', () => {
  const { inbox } = openInbox({});
  inbox.disconnected();
  for (let seq = 1; seq <= 3_000; seq += 1) inbox.receive(broadcast(seq));
  expect(inbox.items).toHaveLength(500);
});
