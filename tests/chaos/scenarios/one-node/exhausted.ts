/** A process that has used up what the system, or its own heap, can give. */
import { runNearHeapLimit, runOutOfDescriptors } from '../../process-limits';
import type { Scenario } from '../../scenario';

export const EXHAUSTED: readonly Scenario[] = [
  {
    id: 'F29',
    fault: 'out of file descriptors',
    injected: 'a low `ulimit -n`, and connections until no more are accepted',
    expected: 'connected clients stay and receive messages, new ones are refused with a reason, it recovers',
    needs: [],
    run: runOutOfDescriptors,
  },
  {
    id: 'F30',
    fault: 'the heap is nearly full',
    injected: 'a small `--max-old-space-size`, readers that take nothing and many large bodies at once',
    expected: 'connected clients stay, new work is refused as `overloaded`, it recovers, the process never ends',
    needs: [],
    run: runNearHeapLimit,
  },
];
