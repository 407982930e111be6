/**
 * What was stored is answered as stored, whatever fails afterwards; where that is unknown, no answer claims the
 * opposite.
 */
import { createRunOnce } from '../../handlers/idempotency';
import { createInboxOperations } from '../../handlers/inbox';
import { describeFailure } from '../../services/observability/describe-failure';
import { type Store, StoreError } from '../../services/storage/contract';
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { systemClock } from '../../utils/clock';
import type { Message } from '../../utils/protocol';
import { captureLog } from '../support/captured-log';
import { attach, draftOf, openDesk, type Pause } from '../support/slow-delivery';
import { onTestEnd, temporaryDirectory } from '../support/temporary';

const anna = { userId: 'anna', scopes: new Set<string>() };
const fail = () => Promise.reject(new StoreError('fails on purpose'));

function openStore(): Store {
  const store = openLmdbStore(temporaryDirectory(), systemClock);
  onTestEnd(() => store.close());
  return store;
}

describe('a request under a key', () => {
  it.each(['keepAnswer', 'release'] as const)('is answered when %s fails', async (method) => {
    const store = openStore();
    store.keys[method] = fail;
    const { logger, lines } = captureLog();
    const runOnce = createRunOnce(store.keys, logger);
    const request = { caller: anna, key: 'key', target: 'POST /x', body: { bytes: Buffer.from('{}'), value: {} } };
    const answer = await runOnce(request, async () => ({
      answer: { id: 'x' },
      isRepeated: false,
      account: { count: 1 },
    }));
    expect(answer).toMatchObject({ status: 200, body: '{"id":"x"}' });
    expect(JSON.stringify(lines)).toContain('fails on purpose');
  });
});

/** A connection of anna with one message, which is marked read while the store counts as `pause` says. */
async function openInbox(pause: Pause) {
  const desk = openDesk(pause);
  const { connection, done } = attach(desk, 'anna', 'phone');
  await done;
  const appended = await desk.delivery.publish(draftOf('@anna'));
  const { id } = appended.outcome === 'stored' ? appended.message : ({} as Message);
  const inbox = createInboxOperations({
    store: desk.store,
    delivery: desk.delivery,
    incoming: { assertMayChangeWhole: () => undefined },
  });
  return { desk, connection, change: () => inbox.change(anna, { ids: [id], state: 'read' }, connection) };
}

describe('a change of states whose counts cannot be read', () => {
  it('is sent to the connection that asked, too', async () => {
    let isFailing = false;
    const { connection, change } = await openInbox((step) =>
      isFailing && step === 'counts' ? fail() : Promise.resolve(),
    );
    isFailing = true;
    await expect(change()).rejects.toBeInstanceOf(StoreError);
    expect(connection.received('~anna')).toEqual([1]);
  });
});

describe('a change of states during which a message comes', () => {
  /** It comes after the store has counted for the answer, and before that is known. */
  async function changeMeanwhile({ isFailing }: { isFailing: boolean }) {
    let counted = -1;
    const told: Promise<void>[] = [];
    const { desk, connection, change } = await openInbox(async (step, when) => {
      if (counted === -1 || step !== 'counts' || when !== 'after') return;
      counted += 1;
      if (counted > 1) return isFailing ? fail() : undefined;
      const appended = await desk.store.log.append(draftOf('@anna'));
      if (appended.outcome !== 'stored') throw new Error('it was not stored');
      // What was counted is not kept, so both the message and the change wait for the store.
      desk.delivery.recountHere('anna');
      told.push(desk.delivery.receive({ kind: 'entries', entries: appended.entries }));
    });
    counted = 0;
    const { counts } = await change();
    const received = connection.received('@anna');
    await Promise.all(told);
    return { counts, received };
  }

  it('is answered with no older counts than the message had', async () => {
    const answered = await changeMeanwhile({ isFailing: false });
    expect(answered).toEqual({ counts: { unseen: 1, unread: 1 }, received: [1, 2] });
  });

  it('is answered even if the store cannot count again', async () => {
    const answered = await changeMeanwhile({ isFailing: true });
    expect(answered).toEqual({ counts: { unseen: 0, unread: 0 }, received: [1, 2] });
  });
});

describe('a store that fails', () => {
  it('does not claim that nothing was done', () => {
    const { message } = describeFailure(new StoreError('late'));
    expect(message).not.toMatch(/nothing/);
    expect(message).toMatch(/Idempotency-Key/);
  });
});
