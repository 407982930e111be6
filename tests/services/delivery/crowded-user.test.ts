/** A user with many topics on many connections: whatever they join, the event loop keeps turning. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { range } from '../../support/service';
import { type Attached, attach, openDesk, type Pause } from '../../support/slow-delivery';

const CONNECTIONS = 10;
/** Longer than a slice: each look at the device takes all of a turn. */
const LOOK_MS = 6;

function takeTime(): void {
  const end = performance.now() + LOOK_MS;
  while (performance.now() < end);
}

/** Notes in which turn of the event loop each look at a device begins. */
function watchLooks(): { readonly pause: Pause; readonly turns: number[]; stop: () => void } {
  const turns: number[] = [];
  let turn = 0;
  let isStopped = false;
  const count = async () => {
    for (; !isStopped; turn += 1) await nextTurn();
  };
  void count();
  const pause: Pause = async (step, when) => {
    if (step !== 'openDevice' || when !== 'before') return;
    turns.push(turn);
    takeTime();
  };
  return {
    pause,
    turns,
    stop: () => {
      isStopped = true;
    },
  };
}

it('looks of many connections do not share a turn, and joins during a look share the next one', async () => {
  const looks = watchLooks();
  const desk = openDesk(looks.pause);
  const attached: Attached[] = range(1, CONNECTIONS).map((n) => attach(desk, 'anna', `device ${n}`));
  await Promise.all(attached.map(({ done }) => done));
  expect(looks.turns).toHaveLength(CONNECTIONS);
  expect(new Set(looks.turns).size).toBe(CONNECTIONS);

  looks.turns.length = 0;
  const follows = range(1, 50).flatMap((n) =>
    attached.map(({ connection }) => desk.delivery.follow(connection, `topic-${n}`)),
  );
  await Promise.all(follows);
  // One for those who came before it began; none of 50 times as many.
  expect(looks.turns).toHaveLength(CONNECTIONS);
  expect(new Set(looks.turns).size).toBe(CONNECTIONS);
  looks.stop();
  for (const { connection } of attached) connection.close();
});
