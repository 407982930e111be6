/** Faults that have to happen inside of a node: a module that it loads first, and a signal on which they happen. */
import { join } from 'node:path';
import type { ChaosNode } from './node';

/** What a node gets into its environment to have one of the modules in preload/. */
export function preload(name: 'stall' | 'clock' | 'throwing'): { readonly NODE_OPTIONS: string } {
  return { NODE_OPTIONS: `--require ${join(__dirname, 'preload', `${name}.js`)}` };
}

/** Makes it happen. Resolves when the node says that it has. */
export async function trigger({ process: { child, lines, line } }: ChaosNode, msg: string): Promise<void> {
  const before = lines.filter((text) => text.includes(msg)).length;
  child.kill('SIGWINCH');
  for (let count = before; count === before; ) {
    await line(new RegExp(msg));
    count = lines.filter((text) => text.includes(msg)).length;
    if (count === before) await new Promise((resolve) => child.stdout?.once('data', resolve));
  }
}
