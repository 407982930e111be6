/**
 * Zero balance: a service has back whatever it has handed out when its clients are gone. Asserted at the end of every
 * test that starts one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Application } from '../../application';
import type { Balance } from '../../utils/balance';

const PATIENCE_MS = 10_000;

/** What a service may keep for a while after its last client, until it stops: written later, or ended by time. */
const KEPT: ReadonlySet<string> = new Set([
  'unwrittenCursors',
  'unwrittenLastSeen',
  'unwrittenSent',
  'unwrittenAudit',
  'presenceGraces',
  'presenceChanges',
  'typists',
  'typingPaces',
  'repeatingTimers',
  'machineTimers',
]);

/** What is in use and should not be, by name. */
export function outstanding(balance: Balance, kept = KEPT): Record<string, number> {
  const all = Object.entries(balance);
  return Object.fromEntries(all.filter(([name, count]) => count !== 0 && !kept.has(name)));
}

/** A polling client that is gone cannot be told from one that pauses: its session, and what it holds, ends by time. */
export function isOnlyPolling(balance: Balance): boolean {
  const { pollingSessions = 0, engineConnections, plainPeers, upgrades, httpRequests } = balance;
  return pollingSessions > 0 && [engineConnections, plainPeers, upgrades, httpRequests].every((count) => count === 0);
}

async function untilBalanced(
  application: Application,
  isDone: (left: Record<string, number>) => boolean,
  kept?: ReadonlySet<string>,
): Promise<Record<string, number>> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    // Connections that a client keeps for its next request, or has opened and not used yet, belong to the client.
    if (application.balance()['httpRequests'] === 0) application.httpServer.closeAllConnections();
    const left = outstanding(application.balance(), kept);
    if (isDone(left)) return {};
    if (performance.now() > deadline) return left;
    await nextTurn();
  }
}

const isZero = (left: Record<string, number>) => Object.keys(left).length === 0;

/**
 * Waits until a service whose clients are closed has everything back, then stops it and checks again.
 * @param kept names of what this test keeps from the service for good, such as a store that stays down.
 * @throws when something stays in use.
 */
export async function stopBalanced(application: Application, kept: readonly string[] = []): Promise<void> {
  const isDone = (left: Record<string, number>) => isZero(left) || isOnlyPolling(application.balance());
  const isRunning = application.httpServer.listening;
  const before = isRunning ? await untilBalanced(application, isDone, new Set([...KEPT, ...kept])) : {};
  await application.stop();
  const after = await untilBalanced(application, isZero, new Set(kept));
  if (isZero({ ...before, ...after })) return;
  throw new Error(`not given back: ${JSON.stringify(before)} before it stopped, ${JSON.stringify(after)} afterwards`);
}
