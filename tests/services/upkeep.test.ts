/** Recurring work: what fails for good must not keep anything else from being done. */
import type { Store } from '../../services/storage/contract';
import { Upkeep, type UpkeepParts } from '../../services/upkeep';
import { captureLog } from '../support/captured-log';
import { VirtualClock } from '../support/clock';
import { eventually } from '../support/eventually';

type Method = 'appendDue' | 'expire' | 'prune' | 'forgetAnswers' | 'forgetDevices';

/** A store with nothing to do that counts how often it was asked, and fails in one method. */
function start(failing: Method) {
  const asked: string[] = [];
  const answer =
    <Answer>(method: string, nothing: Answer) =>
    async (): Promise<Answer> => {
      asked.push(method);
      if (method === failing) throw new Error('damaged');
      return nothing;
    };
  const store = {
    schedule: { appendDue: answer('appendDue', { taken: 0, entries: [], refused: [] }) },
    log: { expire: answer('expire', { taken: 0, expired: [] }), prune: answer('prune', 0) },
    keys: { forget: answer('forgetAnswers', 0) },
    devices: { forgetSilent: answer('forgetDevices', 0) },
  } as unknown as Store;
  const log = captureLog();
  const parts = {
    store,
    clock: new VirtualClock(),
    logger: log.logger,
    retentionDays: 1,
    cursors: { flush: async () => undefined },
    connections: { all: () => [] },
    audit: { prune: answer('audit', 0) },
    delivery: {
      emitAppended: async () => undefined,
      emitExpired: async () => undefined,
      recount: () => undefined,
      recountHere: () => undefined,
    },
  } as unknown as UpkeepParts;
  return { upkeep: new Upkeep(parts), asked, log, store };
}

it.each(['appendDue', 'expire'] as const)('what is due goes on when %s fails', async (method) => {
  const { upkeep, asked, log } = start(method);
  await upkeep.handleDue();
  expect(asked).toEqual(['appendDue', 'expire']);
  expect(log.errors()).toHaveLength(1);
});

it('expired messages are removed while sends are in progress', async () => {
  const { upkeep, asked, store } = start('expire');
  let isSent = false;
  const sent = new Promise<void>((resolve) => {
    store.schedule.appendDue = async () => {
      await eventually(
        async () => asked,
        () => asked.includes('expire'),
      );
      isSent = true;
      resolve();
      return { taken: 0, entries: [], refused: [] };
    };
  });
  await upkeep.handleDue();
  await sent;
  expect({ asked, isSent }).toEqual({ asked: ['expire'], isSent: true });
});

it.each(['prune', 'forgetAnswers', 'forgetDevices'] as const)('a sweep goes on when %s fails', async (method) => {
  const { upkeep, asked, log } = start(method);
  await upkeep.sweep();
  expect(asked).toEqual(['prune', 'forgetAnswers', 'forgetDevices', 'audit']);
  expect(log.errors()).toHaveLength(1);
});
