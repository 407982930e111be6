/** A bound for work that has none of its own. */

/**
 * Settles as `work` does, or fails with `late()` after `milliseconds`. The work itself goes on: who began it sees to its
 * end.
 */
export async function withDeadline<Result>(
  work: Promise<Result>,
  milliseconds: number,
  late: () => unknown,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), milliseconds);
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}
