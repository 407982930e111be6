/** Faults of clients, and of the way to them. */
import type { Random } from '../../support/random';
import { startTcpProxy } from '../../support/tcp-proxy';
import { startOne } from '../one-node';
import { runRound } from '../round';
import type { Outcome, Scenario } from '../scenario';
import { pace } from '../until';

const LOAD_MS = 2_000;

/** All clients lose their connections at once, again and again. */
async function runCut(random: Random): Promise<Outcome> {
  const node = await startOne();
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(node.url).port) });
  const disturb = async () => {
    for (let cut = 0; cut < 4; cut += 1) {
      await pace(random.integer(50, LOAD_MS / 4));
      proxy.cut();
      await pace(random.integer(0, 200));
      proxy.restore();
    }
  };
  const clientUrls = [`http://127.0.0.1:${proxy.port}`];
  return runRound({ random, nodes: [node], clientUrls, loadMs: LOAD_MS, disturb, hasLostBuffers: true });
}

export const CLIENTS: readonly Scenario[] = [
  {
    id: 'F12',
    fault: 'connections are reset',
    injected: 'a proxy before the node that resets all connections of its clients, 4 times a round',
    expected: 'no crash, order kept, nothing lost',
    needs: [],
    rounds: 2,
    run: runCut,
  },
];
