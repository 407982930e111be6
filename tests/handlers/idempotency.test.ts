/** Keys that an earlier version has kept: it compared what bodies say, and not their bytes. */
import { createHash } from 'node:crypto';
import { createRunOnce } from '../../handlers/idempotency';
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { captureLog } from '../support/captured-log';
import { StillClock } from '../support/clock';
import { onTestEnd, temporaryDirectory } from '../support/temporary';

const target = 'POST /x';
const caller = { userId: 'anna', scopes: new Set<string>() };
const never = () => Promise.reject(new Error('it was carried out again'));

function requestOf(text: string) {
  return { caller, key: 'key', target, body: { bytes: Buffer.from(text), value: JSON.parse(text) as unknown } };
}

it.each(['{"a":1,"b":"ü"}', '{ "a": 1, "b": "\\u00fc" }'])('give their answers to %s', async (text) => {
  const store = openLmdbStore(temporaryDirectory(), new StillClock());
  onTestEnd(() => store.close());
  const earlier = createHash('sha256').update(`${target}\n{"a":1,"b":"ü"}`).digest('base64url');
  const name = { caller: 'anna', key: 'key' };
  await store.keys.claim(name, earlier);
  await store.keys.keepAnswer(name, earlier, { status: 200, body: '{"id":"x"}' });
  await store.keys.release(name);
  const runOnce = createRunOnce(store.keys, captureLog().logger);
  expect(await runOnce(requestOf(text), never)).toEqual({ status: 200, body: '{"id":"x"}', isRepeated: true });
  await expect(runOnce(requestOf('{"a":2}'), never)).rejects.toMatchObject({ code: 'idempotency_conflict' });
});
