/** A node's memory, after everything that is not held has been collected. */
import { once } from 'node:events';
import WebSocket from 'ws';
import type { ChaosNode } from './node';

const ADDRESS = /Debugger listening on (ws:\/\/\S+)/;

/** Bytes of the heap of a node that was started with `NODE_OPTIONS=--inspect=127.0.0.1:0`. */
export async function heapOf({ process }: ChaosNode): Promise<number> {
  const [, address = ''] = ADDRESS.exec(await process.line(ADDRESS)) ?? [];
  const socket = new WebSocket(address);
  await once(socket, 'open');
  // Twice: the second collection frees what the first one finalizes.
  await command(socket, 1, 'HeapProfiler.collectGarbage');
  await command(socket, 2, 'HeapProfiler.collectGarbage');
  const { usedSize } = await command(socket, 3, 'Runtime.getHeapUsage');
  socket.terminate();
  return Number(usedSize);
}

async function command(socket: WebSocket, id: number, method: string): Promise<Record<string, unknown>> {
  socket.send(JSON.stringify({ id, method }));
  for (;;) {
    const [data] = (await once(socket, 'message')) as [Buffer];
    const answer = JSON.parse(data.toString('utf8')) as { id?: number; result?: Record<string, unknown> };
    if (answer.id !== id) continue;
    if (answer.result === undefined) throw new Error(`${method}: ${data.toString('utf8')}`);
    return answer.result;
  }
}
