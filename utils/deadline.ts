/** A deadline for work that has none, such as a call to another machine. */
import { systemClock, type Timer } from './clock';

/**
 * Settles as `work` does, or fails with `late()` after `milliseconds`. The work itself continues; its caller is
 * responsible for it.
 */
export async function withDeadline<Result>(
  work: Promise<Result>,
  milliseconds: number,
  late: () => unknown,
): Promise<Result> {
  let timer: Timer | undefined;
  const over = new Promise<never>((_resolve, reject) => {
    timer = systemClock.after(milliseconds, () => reject(late()), { isAwaited: true });
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    timer?.cancel();
  }
}
