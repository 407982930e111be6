/**
 * The longest turn of the event loop during some work, in milliseconds of CPU time: on a busy machine, that says more
 * than the clock.
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
