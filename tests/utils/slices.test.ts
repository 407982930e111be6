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

it('nobody begins, and nobody is done, before those who came earlier, however many come', async () => {
  const begun: number[] = [];
  const done: number[] = [];
  const all: Promise<unknown>[] = [];
  for (const n of range(1, 40)) {
    // As requests come: several in one turn, from outside, before those that wait are woken.
    if (n % 3 === 0) await stat(__filename);
    all.push(work(4, () => begun.push(n)).then(() => done.push(n)));
  }
  await Promise.all(all);
  expect({ begun, done }).toEqual({ begun: range(1, 40), done: range(1, 40) });
});

it('long work holds up nobody for as long', async () => {
  const done: string[] = [];
  const end = (name: string) => () => done.push(name);
  await Promise.all([work(100).then(end('long')), work(2).then(end('short')), work(2).then(end('short, too'))]);
  expect(done).toEqual(['short', 'short, too', 'long']);
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
