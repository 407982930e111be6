import { stat } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '../../utils/clock';
import { isSliceOver, nextSlice } from '../../utils/slices';
import { range } from '../support/service';

const STEP_MS = 2;

function hold(ms: number): void {
  const endsAt = systemClock.steady() + ms;
  while (systemClock.steady() < endsAt);
}

async function work(steps: number, begin?: () => void): Promise<void> {
  for (let step = 0; step < steps; step += 1) {
    if (isSliceOver()) await nextSlice();
    if (step === 0) begin?.();
    hold(STEP_MS);
  }
}

it('nobody begins before those who came earlier, however many come', async () => {
  const begun: number[] = [];
  const all = range(1, 40).map(async (n) => {
    // As requests come: from the network, before those that wait are woken.
    for (let turns = Math.floor(n / 3); turns > 0; turns -= 1) await stat(__filename);
    await work(4, () => begun.push(n));
  });
  await Promise.all(all);
  expect(begun).toEqual(range(1, 40));
});

it('all of it together holds a turn for one slice and a step', async () => {
  const turns: number[] = [];
  let isOver = false;
  const watch = async () => {
    while (!isOver) {
      const before = systemClock.steady();
      await nextTurn();
      turns.push(systemClock.steady() - before);
    }
  };
  const watching = watch();
  await Promise.all(range(1, 10).map(() => work(10)));
  isOver = true;
  await watching;
  // 200 ms of work in turns of 5 to 7 ms; a turn that the machine held up is not the work's.
  expect(turns.length).toBeGreaterThan(20);
});
