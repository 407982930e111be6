import type { Figure, Target } from './comparison';
import { HttpConnection } from './http-connection';
import { UsageMeter } from './process-stats';
import { connectReceivers } from './receivers';
import type { Round, Sample } from './rounds';
import type { RunningServer } from './servers';
import { Tally } from './tally';
import { createServiceToken } from './tokens';

const TEXT = 'x'.repeat(128);

/** Few enough for turns to come within seconds, and enough for a server to work with warm caches for most of one. */
const MESSAGES_IN_A_ROW = 25;

export type AudienceKey = 'cpu' | 'throughput' | 'clientBusy';

/** One server with the sockets that each of its messages reaches. */
export interface Audience {
  readonly label: string;
  readonly server: RunningServer;
  /** Where a message to the whole audience is posted. */
  readonly path: string;
  readonly tally: Tally;
  size: number;
  lastSent: number;
}

/** Makes an empty audience. */
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

/** The user of the socket with this index in an audience. */
export function audienceUserAt(index: number): string {
  return `user-${index}`;
}

/** Connects new users until the audience has this size. */
export async function growAudience(audience: Audience, size: number): Promise<void> {
  const first = audience.size;
  const userIds = Array.from({ length: size - first }, (_, i) => audienceUserAt(first + i));
  for (let i = first; i < size; i += 1) audience.tally.startReceiverAt(i, audience.lastSent);
  await connectReceivers(audience.server, userIds, (i, { data }) => audience.tally.noteDelivery(first + i, data.n));
  audience.size = size;
}

/**
 * Sends `messages` to each of the audiences, a few to one and then a few to the next, so that a machine that is faster
 * for some seconds is so for all of them. Each message is sent when the previous one has reached everybody.
 */
export async function measureAudiences(audiences: readonly Audience[], messages: number): Promise<Round<AudienceKey>> {
  const sendings = await Promise.all(audiences.map(beginSending));
  for (let sent = 0; sent < messages; sent += MESSAGES_IN_A_ROW) {
    const count = Math.min(MESSAGES_IN_A_ROW, messages - sent);
    for (const sending of sendings) await sendSome(sending, count);
    sendings.reverse();
  }
  return new Map(await Promise.all(sendings.map(endSending)));
}

/** The same for one audience only. */
export async function measureAudience(audience: Audience, messages: number): Promise<Sample<AudienceKey>> {
  const [sample] = (await measureAudiences([audience], messages)).values();
  if (sample === undefined) throw new Error(`${audience.label} was not measured`);
  return sample;
}

/** Messages in flight to one audience. */
interface Sending {
  readonly audience: Audience;
  readonly connection: HttpConnection;
  readonly meter: UsageMeter;
  messages: number;
}

async function beginSending(audience: Audience): Promise<Sending> {
  const { server, tally } = audience;
  const connection = await HttpConnection.open(server.port, createServiceToken());
  tally.begin();
  return { audience, connection, meter: new UsageMeter(server.pid), messages: 0 };
}

async function sendSome(sending: Sending, count: number): Promise<void> {
  const { audience, connection, meter } = sending;
  await meter.during(async () => {
    for (let i = 0; i < count; i += 1) {
      sending.messages += 1;
      await sendOne(audience, connection, sending.messages * audience.size);
    }
  });
}

async function endSending(sending: Sending): Promise<[label: string, Sample<AudienceKey>]> {
  const { audience, connection, meter, messages } = sending;
  const usage = await meter.end();
  connection.close();
  const deliveries = messages * audience.size;
  const throughput = (deliveries / usage.elapsedMs) * 1000;
  const figures = { cpu: usage.cpuMicros / deliveries, throughput, clientBusy: usage.clientShare * 100 };
  return [audience.label, { figures, faults: audience.tally.findFaults(deliveries) }];
}

/** Waits until it has reached everybody: a slow reader would otherwise change what one write carries. */
async function sendOne(audience: Audience, connection: HttpConnection, deliveriesSoFar: number): Promise<void> {
  audience.lastSent += 1;
  const content = { type: 'bench', data: { n: audience.lastSent, text: TEXT } };
  await audience.tally.noteAnswer(connection.post(audience.path, content));
  await audience.tally.waitForDeliveries(deliveriesSoFar);
}
