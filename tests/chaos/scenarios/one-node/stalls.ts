/** F7 and F8: the process stalls, as a whole or in its event loop. */
import type { Random } from '../../../support/random';
import { testToken } from '../../../support/service';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { startOne } from '../../one-node';
import { preload, trigger } from '../../preload';
import { runRound, type Stage } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { pace, until } from '../../until';

const LOAD_MS = 2_000;
const STALL_MS = 5_000;
/** In the same proportion as 60 s to the default heartbeats. */
const PAUSE_MS = 6_000;
const PINGS = { PING_INTERVAL_MS: '2500', PING_TIMEOUT_MS: '2000' };
const WAKE_PATIENCE_MS = 20_000;

/** The event loop blocks, and nobody loses a connection by it: heartbeats are longer than that. */
async function runStalled(random: Random): Promise<Outcome> {
  const node = await startOne({ env: { ...preload('stall'), STALL_MS: String(STALL_MS) } });
  const violations: string[] = [];
  const disturb = async ({ devices, history }: Stage) => {
    const connections = () => devices.reduce((sum, device) => sum + device.connections, 0);
    const before = connections();
    await pace(random.integer(100, LOAD_MS));
    await trigger(node, 'stalled');
    await node.healthy();
    if (connections() !== before) violations.push(`${connections() - before} connections were lost by a stall`);
    // Without a new connection nothing is sent again.
    const ids = new Set(history.deliveries.map(({ userId, device, id }) => JSON.stringify([userId, device, id])));
    if (ids.size !== history.deliveries.length) violations.push('messages were delivered again on waking');
  };
  const outcome = await runRound({ random, nodes: [node], loadMs: LOAD_MS, disturb });
  return { ...outcome, violations: [...violations, ...outcome.violations] };
}

/** The process is stopped for longer than a heartbeat: everybody has left, and comes back when it continues. */
async function runPaused(random: Random): Promise<Outcome> {
  const node = await startOne({ env: PINGS });
  const violations: string[] = [];
  const figures: Record<string, number> = {};
  const disturb = async ({ devices }: Stage) => {
    const connections = () => devices.reduce((sum, device) => sum + device.connections, 0);
    await pace(random.integer(100, LOAD_MS));
    const before = connections();
    await node.pause(PAUSE_MS);
    const wokenAt = performance.now();
    if (connections() === before) violations.push('nothing was tried: no client has left');
    // Each connects once, and those that left are forgotten.
    await until(
      'there are as many sockets as devices',
      WAKE_PATIENCE_MS,
      () => countSockets(node),
      (count) => count === devices.length,
    );
    figures['ms until all are back'] = Math.round(performance.now() - wokenAt);
    const settled = connections();
    await pace(Number(PINGS.PING_INTERVAL_MS) + Number(PINGS.PING_TIMEOUT_MS));
    if (connections() !== settled) violations.push('clients were cut again after they had come back');
  };
  // On waking, the node writes to connections that their clients have given up meanwhile.
  const outcome = await runRound({ random, nodes: [node], loadMs: LOAD_MS, disturb, hasLostBuffers: true });
  return {
    ...outcome,
    violations: [...violations, ...outcome.violations],
    figures: { ...outcome.figures, ...figures },
  };
}

async function countSockets({ url }: ChaosNode): Promise<unknown> {
  const answer = await request(`${url}/api/gateway/stats`, { token: testToken('watcher', { scope: 'presence' }) });
  return answer?.body['sockets'];
}

export const STALLS: readonly Scenario[] = [
  {
    id: 'F7',
    fault: 'the process is stopped for longer than a heartbeat',
    injected: `SIGSTOP for ${PAUSE_MS} ms, with heartbeats shortened in proportion to 60 s, under load`,
    expected: 'every client comes back once, nothing is lost or duplicated',
    needs: [],
    tells: ['ms until all are back'],
    run: runPaused,
  },
  {
    id: 'F8',
    fault: 'the event loop blocks for 5 s',
    injected: 'a loop in the process, under load',
    expected: 'no connection is lost, nothing is delivered again',
    needs: [],
    run: runStalled,
  },
];
