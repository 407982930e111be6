import { openConnections } from './http-connection';
import { createLanes, sendAsFastAsAnswered } from './load';
import type { RunningServer } from './servers';
import { createServiceToken } from './tokens';

const BATCHES_AT_ONCE = 2;
/** Messages in one request. */
export const BATCH_SIZE = 1000;
const TEXT = 'x'.repeat(128);

export interface Filling {
  readonly title: string;
  readonly count: number;
  /** The recipient of the message with this number, from 0. */
  userOf(n: number): string;
  readonly faults: string[];
}

/** Fills the store of a service through the batch route. */
export async function sendBatches(
  server: Pick<RunningServer, 'port'>,
  { title, count, userOf, faults }: Filling,
): Promise<void> {
  if (count === 0) return;
  process.stderr.write(`${title}: ${count} messages into the store\n`);
  const connections = await openConnections(BATCHES_AT_ONCE, server.port, createServiceToken());
  let sent = 0;
  await sendAsFastAsAnswered(createLanes(connections), Math.ceil(count / BATCH_SIZE), async ({ connection }) => {
    const first = sent;
    sent = Math.min(count, first + BATCH_SIZE);
    const messages = Array.from({ length: sent - first }, (_, i) => ({
      userId: userOf(first + i),
      type: 'bench',
      data: { n: first + i, text: TEXT },
    }));
    const { status, body } = await connection.post('/messages/batch', { messages });
    if (status !== 200 || body.includes('"error"')) faults.push(`${title}: a batch was answered ${status}`);
  });
  for (const connection of connections) connection.close();
}
