/**
 * The most that one turn of the event loop costs while some work goes on, in milliseconds of processor time: on a machine
 * that is busy with others that says more than the clock.
 */
export async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let isRunning = true;
  const watching = (async () => {
    while (isRunning) {
      const before = process.cpuUsage();
      await new Promise((resolve) => setImmediate(resolve));
      const { user, system } = process.cpuUsage(before);
      longest = Math.max(longest, (user + system) / 1_000);
    }
  })();
  try {
    await work();
  } finally {
    isRunning = false;
    await watching;
  }
  return longest;
}
