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
import { attach, draftOf, openDesk } from '../support/slow-delivery';
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

describe('a change of states whose counts cannot be read', () => {
  it('is sent to the connection that asked, too', async () => {
    const desk = openDesk(async () => undefined);
    const { connection, done } = attach(desk, 'anna', 'phone');
    await done;
    const appended = await desk.delivery.publish(draftOf('@anna'));
    const { id } = appended.outcome === 'stored' ? appended.message : ({} as Message);
    const inbox = createInboxOperations({
      store: desk.store,
      delivery: desk.delivery,
      incoming: { assertMayChangeWhole: () => undefined },
    });
    desk.store.inbox.counts = fail;
    await expect(inbox.change(anna, { ids: [id], state: 'read' }, connection)).rejects.toBeInstanceOf(StoreError);
    expect(connection.received('~anna')).toEqual([1]);
  });
});

describe('a store that fails', () => {
  it('does not claim that nothing was done', () => {
    const { message } = describeFailure(new StoreError('late'));
    expect(message).not.toMatch(/nothing/);
    expect(message).toMatch(/Idempotency-Key/);
  });
});
