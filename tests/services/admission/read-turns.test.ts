/** Reads of one user take turns; nobody else waits for them, and each turn is given back. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MAX_READS_WAITING, READS_AT_ONCE, ReadTurns, type Turn } from '../../../services/admission/read-turns';
import { createMetrics } from '../../../services/observability/metrics';
import { range } from '../../support/service';

const ALL = READS_AT_ONCE + MAX_READS_WAITING;

function create() {
  const reads = new ReadTurns(createMetrics());
  const begun: number[] = [];
  const given: number[] = [];
  const enter = (count: number): Turn[] =>
    range(1, count).map((number) => {
      const turn = reads.enter('anna');
      void turn.begun.then((isMine) => (isMine ? begun : given).push(number));
      return turn;
    });
  const taken = () => [reads.running, reads.waiting];
  return { reads, begun, given, enter, taken };
}

it('a few begin at once, the others wait, and no more may', async () => {
  const { reads, begun, enter, taken } = create();
  enter(ALL);
  await nextTurn();
  expect(begun).toEqual(range(1, READS_AT_ONCE));
  expect(taken()).toEqual([READS_AT_ONCE, MAX_READS_WAITING]);
  expect(() => reads.enter('anna')).toThrow(expect.objectContaining({ code: 'rate_limited', retryAfterSeconds: 1 }));
  expect(() => reads.enter('ben')).not.toThrow();
});

it('the one that has waited longest is next, and at the end nothing is in use', async () => {
  const { begun, enter, taken } = create();
  for (const turn of enter(ALL)) {
    expect(await turn.begun).toBe(true);
    turn.end();
    // Once more does nothing.
    turn.end();
  }
  expect(begun).toEqual(range(1, ALL));
  expect(taken()).toEqual([0, 0]);
});

it('one that gives up leaves the queue, and never begins', async () => {
  const { begun, given, enter, taken } = create();
  const turns = enter(ALL);
  for (const turn of turns.slice(READS_AT_ONCE, -1)) turn.giveUp();
  expect(taken()).toEqual([READS_AT_ONCE, 1]);
  // What has begun costs on.
  turns[0]?.giveUp();
  expect(taken()).toEqual([READS_AT_ONCE, 1]);
  for (const turn of turns) turn.end();
  await nextTurn();
  expect(begun).toEqual([...range(1, READS_AT_ONCE), ALL]);
  expect(given).toEqual(range(READS_AT_ONCE + 1, ALL - 1));
  expect(taken()).toEqual([0, 0]);
});

it.each(['throws', 'answers'])('a read of a connection that %s gives its turn back', async (outcome) => {
  const { reads, taken } = create();
  const connection = { userId: 'anna', isOpen: true };
  const read = () => (outcome === 'throws' ? Promise.reject(new Error('the disk is gone')) : Promise.resolve('read'));
  const answer = await reads.run(connection, read).catch((error: Error) => error.message);
  expect(answer).toBe(outcome === 'throws' ? 'the disk is gone' : 'read');
  expect(taken()).toEqual([0, 0]);
});

it('what was requested ahead is not read when the connection has been cut', async () => {
  const { reads, taken } = create();
  const read = jest.fn();
  const answer = reads.run({ userId: 'anna', isOpen: false }, read).catch((error: { code: string }) => error.code);
  expect(await answer).toBe('going_away');
  expect(read).not.toHaveBeenCalled();
  expect(taken()).toEqual([0, 0]);
});

it('a connection that has ended does not read any more', async () => {
  const { reads, enter, taken } = create();
  const turns = enter(READS_AT_ONCE);
  const connection = { userId: 'anna', isOpen: true };
  const read = jest.fn();
  const answer = reads.run(connection, read).catch((error: { code: string }) => error.code);
  reads.leave(connection);
  for (const turn of turns) turn.end();
  expect(await answer).toBe('going_away');
  expect(read).not.toHaveBeenCalled();
  expect(taken()).toEqual([0, 0]);
});
