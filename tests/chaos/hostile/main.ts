/** Runs as a separate process: see process.ts. */
import '../without-jest';
import { once } from 'node:events';
import { ATTACKERS } from './attackers';
import type { Target } from './process';

async function main(): Promise<void> {
  process.send?.('ready');
  const [target] = (await once(process, 'message')) as [Target];
  const over = new AbortController();
  const { signal } = over;
  const ended = once(process, 'message').then(() => over.abort());
  const attacks = Object.entries(ATTACKERS).map(
    async ([name, attack]) => [name, await attack({ ...target, signal, over: ended })] as const,
  );
  process.send?.(Object.fromEntries(await Promise.all(attacks)));
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
