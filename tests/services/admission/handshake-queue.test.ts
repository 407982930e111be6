/** Handshakes in turn. */
import { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HandshakeQueue } from '../../../services/admission/handshake-queue';
import { systemClock } from '../../../utils/clock';
import { range } from '../../support/service';

/** Keeps the processor busy, as a handshake does. */
function work(milliseconds: number): void {
  const endsAt = performance.now() + milliseconds;
  while (performance.now() < endsAt);
}

it('a crowd is admitted in order, a few in each turn, and other work runs in between', async () => {
  const queue = new HandshakeQueue(systemClock);
  const admitted: { readonly n: number; readonly turn: number }[] = [];
  let turn = 0;
  for (const n of range(1, 150)) {
    queue.enter(new Socket(), () => {
      work(1);
      admitted.push({ n, turn });
    });
  }
  expect(admitted).toEqual([]);
  for (; admitted.length < 150; turn += 1) await nextTurn();
  expect(admitted.map(({ n }) => n)).toEqual(range(1, 150));
  const perTurn = range(0, turn).map((one) => admitted.filter((each) => each.turn === one).length);
  // 10 ms of a turn.
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(12);
});

it('one that takes longer than its turn does not keep the next one out', async () => {
  const queue = new HandshakeQueue(systemClock);
  const admitted: number[] = [];
  for (const n of [1, 2]) {
    queue.enter(new Socket(), () => {
      work(15);
      admitted.push(n);
    });
  }
  while (admitted.length < 2) await nextTurn();
  expect(admitted).toEqual([1, 2]);
});

it('a reset during the wait ends nothing, and is reported', async () => {
  const queue = new HandshakeQueue(systemClock);
  const [gone, there] = [new Socket(), new Socket()];
  const answers: boolean[] = [];
  queue.enter(gone, (isThere) => answers.push(isThere));
  queue.enter(there, (isThere) => answers.push(isThere));
  gone.destroy(new Error('read ECONNRESET'));
  while (answers.length < 2) await nextTurn();
  expect(answers).toEqual([false, true]);
  expect(there.listenerCount('error')).toBe(0);
});
