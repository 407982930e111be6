/** Faults that have to happen inside a node: a module that it loads first, and a signal that triggers them. */
import { join } from 'node:path';
import type { ChaosNode } from './node';

/** The environment of a node with one of the modules in preload/. */
export function preload(name: 'stall' | 'clock' | 'throwing'): { readonly NODE_OPTIONS: string } {
  return { NODE_OPTIONS: `--require ${join(__dirname, 'preload', `${name}.js`)}` };
}

/** Triggers it. Resolves when the node says that it has happened. */
export async function trigger({ process: { child, lines, line } }: ChaosNode, msg: string): Promise<void> {
  const before = lines.filter((text) => text.includes(msg)).length;
  child.kill('SIGWINCH');
  for (let count = before; count === before; ) {
    await line(new RegExp(msg));
    count = lines.filter((text) => text.includes(msg)).length;
    if (count === before) await new Promise((resolve) => child.stdout?.once('data', resolve));
  }
}
