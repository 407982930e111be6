/** Makes a failing list of commands smaller: leaves out halves, quarters, …, and at last single ones. */
import type { Command } from './acts';

export interface Shrunk {
  readonly commands: readonly Command[];
  readonly violations: readonly string[];
}

/**
 * @param play says what is wrong after these commands, if anything.
 * @param budget how often it may be called.
 */
export async function shrink(
  commands: readonly Command[],
  play: (commands: readonly Command[]) => Promise<readonly string[]>,
  budget: number,
): Promise<Shrunk> {
  let smallest: Shrunk = { commands, violations: await play(commands) };
  // What depends on the moment may not happen again: then it is reported unchanged.
  if (smallest.violations.length === 0) return { commands, violations: ['it did not happen again'] };
  let left = budget;
  for (let size = Math.ceil(commands.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < smallest.commands.length && left > 0; left -= 1) {
      const fewer = smallest.commands.toSpliced(at, size);
      const violations = await play(fewer);
      if (violations.length > 0) smallest = { commands: fewer, violations };
      else at += size;
    }
  }
  return smallest;
}
