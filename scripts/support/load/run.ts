/** One load run, from the first connection to the report. */
import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type { Access } from '../access';
import type { Terminal } from '../terminal';
import { MessageStream } from './message-stream';
import type { LoadPlan } from './plan';
import { withProgress } from './progress';
import { Receivers } from './receivers';
import { type Report, reportOf } from './report';
import { Sender } from './sender';
import { Tally } from './tally';

/** How long nothing may arrive before missing messages count as lost. */
const PATIENCE_MS = 10_000;
const LOOK_INTERVAL_MS = 50;

interface Parts {
  readonly plan: LoadPlan;
  readonly access: Access;
  makeToken(userId: string): string;
}

/**
 * Connects, sends, waits for what is in flight, and counts.
 * @throws Failure when it makes no sense to begin or to continue.
 */
export async function runLoad(
  { plan, access, makeToken }: Parts,
  { stderr, interrupted }: Terminal,
): Promise<{ report: Report; tally: Tally }> {
  const streams = [MessageStream.toUsers(plan), MessageStream.toEveryone(plan)];
  const tally = new Tally(randomUUID(), streams);
  const sender = new Sender({ access, plan, tally, streams });
  const { origin } = access;
  const receivers = new Receivers({ origin, plan, tally, makeToken });
  const stop = () => receivers.close();
  const source = () => ({ tally, sent: sender.sent, connected: receivers.connected });
  const total = streams.reduce((sum, { count }) => sum + count, 0);
  try {
    interrupted.addEventListener('abort', stop);
    const opening = { what: 'connections', total: plan.connections, value: () => receivers.connected };
    await withProgress(stderr, opening, { source, work: () => receivers.open() });
    interrupted.removeEventListener('abort', stop);
    const before = performance.eventLoopUtilization();
    const startedAt = performance.now();
    const sending = { what: 'messages', total, value: () => sender.sent };
    await withProgress(stderr, sending, { source, work: () => sender.run(interrupted) });
    const seconds = (performance.now() - startedAt) / 1_000;
    const { utilization: busyShare } = performance.eventLoopUtilization(before);
    await untilArrived(tally);
    return { report: reportOf({ origin, plan, tally, receivers, sent: sender.sent, seconds, busyShare }), tally };
  } finally {
    interrupted.removeEventListener('abort', stop);
    receivers.close();
  }
}

/** Waits until everything accepted has arrived, or nothing has arrived for some time. */
async function untilArrived(tally: Tally): Promise<void> {
  let delivered = tally.delivered;
  let deadline = performance.now() + PATIENCE_MS;
  while (tally.count().lost > 0 && performance.now() < deadline) {
    await delay(LOOK_INTERVAL_MS);
    if (tally.delivered === delivered) continue;
    delivered = tally.delivered;
    deadline = performance.now() + PATIENCE_MS;
  }
}
