import type { Figure, Target } from './comparison';
import { HttpConnection } from './http-connection';
import { measureUsage } from './process-stats';
import { connectReceivers } from './receivers';
import type { Sample } from './rounds';
import type { RunningServer } from './servers';
import { Tally } from './tally';
import { createServiceToken } from './tokens';

const TEXT = 'x'.repeat(128);

export type AudienceKey = 'cpu' | 'throughput' | 'clientBusy';

/** One server with the sockets that each of its messages goes to. */
export interface Audience {
  readonly label: string;
  readonly server: RunningServer;
  /** Where a message to the whole audience is posted. */
  readonly path: string;
  readonly tally: Tally;
  size: number;
  lastSent: number;
}

/** Makes an audience that nobody is in yet. */
export function createAudience(server: RunningServer, path: string): Audience {
  return { label: server.label, server, path, tally: new Tally(), size: 0, lastSent: 0 };
}

/** The lines of a table about audiences; `what` is sent one at a time. */
export function createAudienceFigures(what: string, target: Target): Figure<AudienceKey>[] {
  return [
    { key: 'cpu', title: 'CPU µs per delivery', digits: 1, comparedBy: 'ratio', target },
    { key: 'throughput', title: `deliveries/s, one ${what} at a time`, digits: 0 },
    { key: 'clientBusy', title: 'clients busy, % of a core', digits: 0 },
  ];
}

/** The user of the socket at this place of an audience. */
export function audienceUserAt(index: number): string {
  return `user-${index}`;
}

/** Connects users of their own until the audience has this size. */
export async function growAudience(audience: Audience, size: number): Promise<void> {
  const first = audience.size;
  const userIds = Array.from({ length: size - first }, (_, i) => audienceUserAt(first + i));
  for (let i = first; i < size; i += 1) audience.tally.startReceiverAt(i, audience.lastSent);
  await connectReceivers(audience.server, userIds, (i, { data }) => audience.tally.noteDelivery(first + i, data.n));
  audience.size = size;
}

/** Sends `messages` to the audience, each when everybody has the one before. */
export async function measureAudience(audience: Audience, messages: number): Promise<Sample<AudienceKey>> {
  const { server, tally, size } = audience;
  const connection = await HttpConnection.open(server.port, createServiceToken());
  tally.begin();
  const usage = await measureUsage(server.pid, async () => {
    for (let i = 1; i <= messages; i += 1) await sendOne(audience, connection, i * size);
  });
  connection.close();
  const deliveries = messages * size;
  const throughput = (deliveries / usage.elapsedMs) * 1000;
  return {
    figures: { cpu: usage.cpuMicros / deliveries, throughput, clientBusy: usage.clientShare * 100 },
    faults: tally.findFaults(deliveries),
  };
}

/** Waits until everybody has it: a slow reader would otherwise change what one write carries. */
async function sendOne(audience: Audience, connection: HttpConnection, deliveriesSoFar: number): Promise<void> {
  audience.lastSent += 1;
  const content = { type: 'bench', data: { n: audience.lastSent, text: TEXT } };
  await audience.tally.noteAnswer(connection.post(audience.path, content));
  await audience.tally.waitForDeliveries(deliveriesSoFar);
}
