/**
 * A proxy that fails as networks do: cut, silent, deaf in one direction, slow, torn into single bytes, reset in the
 * middle of a chunk.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import type { Random } from './random';
import { onTestEnd } from './temporary';

/** `up`: to the server; `down`: to its client. */
export type Direction = 'up' | 'down';

/** What is wrong with a direction, for everything sent there from now on. Order is always kept. */
export interface Toxics {
  /** Data arrives this much later … */
  readonly latencyMs?: number;
  /** … and up to this much more. */
  readonly jitterMs?: number;
  readonly bytesPerSecond?: number;
  /** One chunk in this many arrives byte by byte, at least its beginning; 1: all. */
  readonly sliceOneIn?: number;
}

/** What has happened, so that a test can see that something did. */
export interface ProxyCounts {
  connections: number;
  /** Connections that were reset after a part of a chunk. */
  resets: Record<Direction, number>;
  /** Bytes that travelled alone. */
  slices: number;
  /** Bytes that were not passed on. */
  lostBytes: Record<Direction, number>;
}

export interface TcpProxy {
  readonly port: number;
  /** As the address of an HTTP server. */
  readonly url: string;
  readonly counts: ProxyCounts;
  /** Ends all connections, and each new one at once. */
  cut(): void;
  /** Passes nothing on any more, without notice: as a host that has lost its network. */
  hang(): void;
  /** Passes nothing on in this direction any more; the other one continues. */
  lose(direction: Direction): void;
  /** Lets the server do what it is asked, and drops its answers. */
  loseAnswers(): void;
  poison(direction: Direction, toxics: Toxics): void;
  /** Resets each current connection (RST, to both sides) when it next sends in this direction, after a part of that. */
  resetInFrame(direction: Direction): void;
  /** Passes on again what comes from now on, at once. Earlier connections are closed: they may have lost something. */
  restore(): void;
}

/** At a limited bandwidth, sending one portion takes about this long. */
const PORTION_MS = 20;
const RESET_AFTER_MS = 5;
/** Of a chunk; the rest comes at once. Data that was held up for long comes in large chunks. */
const MAX_SLICES = 400;
/** Between single bytes, one pause in so many. */
const PAUSE_ONE_IN = 128;
/** Amounts are the middle value unless they are drawn. */
const MIDDLE: Random = { seed: 0, integer: (from, to) => Math.floor((from + to) / 2) };

/** One direction of the proxy. */
interface Way {
  readonly direction: Direction;
  toxics: Toxics;
  isLost: boolean;
  /** What is read there belongs to a connection that will be reset in the middle of it. */
  readonly doomed: WeakSet<Socket>;
}

function newWay(direction: Direction): Way {
  return { direction, toxics: {}, isLost: false, doomed: new WeakSet() };
}

/** Ends with the test. Moments and amounts come from `random`. */
export async function startTcpProxy(
  target: { readonly host: string; readonly port: number },
  random: Random = MIDDLE,
): Promise<TcpProxy> {
  let isCut = false;
  const ways = { up: newWay('up'), down: newWay('down') };
  const counts: ProxyCounts = { connections: 0, resets: { up: 0, down: 0 }, slices: 0, lostBytes: { up: 0, down: 0 } };
  /** What is read from, by direction. */
  const sources = { up: new Set<Socket>(), down: new Set<Socket>() };
  const server = createServer((near) => {
    counts.connections += 1;
    if (isCut) {
      near.destroy();
      return;
    }
    const far = connect(target);
    join(near, far, ways.up);
    join(far, near, ways.down);
  });

  function join(from: Socket, to: Socket, way: Way): void {
    sources[way.direction].add(from);
    from.setNoDelay(true);
    // What is cut ends on both sides, whatever the reason: see `pass`.
    from.on('error', () => undefined);
    from.on('close', () => sources[way.direction].delete(from));
    void pass(from, to, way).catch(() => endUnlessLost(to, way));
  }

  async function pass(from: Socket, to: Socket, way: Way): Promise<void> {
    for await (const piece of from) await carry(piece as Buffer, { from, to, way });
    if (!way.isLost) to.destroySoon();
  }

  /** Where nothing is passed on, an end is not passed on either. */
  function endUnlessLost(to: Socket, way: Way): void {
    if (!way.isLost) to.destroy();
  }

  async function carry(piece: Buffer, link: { from: Socket; to: Socket; way: Way }): Promise<void> {
    const { from, to, way } = link;
    const { latencyMs = 0, jitterMs = 0, sliceOneIn = 0 } = way.toxics;
    const delayMs = latencyMs + (jitterMs === 0 ? 0 : random.integer(0, jitterMs));
    if (delayMs > 0) await wait(delayMs);
    if (way.isLost) counts.lostBytes[way.direction] += piece.length;
    else if (way.doomed.has(from) && piece.length > 1) await breakOff(piece, link);
    else if (sliceOneIn > 0 && random.integer(1, sliceOneIn) === 1) await writeBytes(piece, to, jitterMs);
    else await writePortions(piece, to, way.toxics);
  }

  async function breakOff(piece: Buffer, { from, to, way }: { from: Socket; to: Socket; way: Way }): Promise<void> {
    counts.resets[way.direction] += 1;
    await written(to, piece.subarray(0, random.integer(1, piece.length - 1)));
    // A reader that finds the reset together with data takes it for an ordinary end (libuv does).
    await wait(random.integer(1, RESET_AFTER_MS));
    // Timers come before input: a reader in this process has its turn first, however late the timer is.
    await nextTurn();
    to.resetAndDestroy();
    from.resetAndDestroy();
  }

  async function writeBytes(piece: Buffer, to: Socket, jitterMs: number): Promise<void> {
    const count = Math.min(piece.length, MAX_SLICES);
    for (let at = 0; at < count && to.writable; at += 1) {
      to.write(piece.subarray(at, at + 1));
      counts.slices += 1;
      if (jitterMs > 0 && random.integer(1, PAUSE_ONE_IN) === 1) await wait(random.integer(1, jitterMs));
      // Otherwise the next byte would travel with this one.
      else await nextTurn();
    }
    if (count < piece.length) await written(to, piece.subarray(count));
  }

  const endAll = () => {
    for (const socket of [...sources.up, ...sources.down]) socket.destroy();
  };
  const lose = (...directions: readonly Direction[]) => {
    for (const direction of directions) ways[direction].isLost = true;
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    endAll();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    counts,
    cut: () => {
      isCut = true;
      endAll();
    },
    hang: () => lose('up', 'down'),
    lose,
    loseAnswers: () => lose('down'),
    poison: (direction, toxics) => {
      ways[direction].toxics = toxics;
    },
    resetInFrame: (direction) => {
      for (const socket of sources[direction]) ways[direction].doomed.add(socket);
    },
    restore: () => {
      isCut = false;
      for (const way of Object.values(ways)) Object.assign(way, { isLost: false, toxics: {} });
      endAll();
    },
  };
}

/** Writes as much as the bandwidth allows in a moment, and waits for that to pass. */
async function writePortions(piece: Buffer, to: Socket, { bytesPerSecond }: Toxics): Promise<void> {
  if (bytesPerSecond === undefined) return written(to, piece);
  const size = Math.max(1, Math.round((bytesPerSecond * PORTION_MS) / 1_000));
  for (let at = 0; at < piece.length && to.writable; at += size) {
    const portion = piece.subarray(at, at + size);
    await written(to, portion);
    await wait((portion.length / bytesPerSecond) * 1_000);
  }
}

/** Resolves when the system has taken it, or nobody will any more. */
function written(to: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => to.write(bytes, () => resolve()));
}
