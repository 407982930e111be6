/** The proxy that makes network faults does what it says. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { seededRandom } from '../support/random';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy';
import { onTestEnd } from '../support/temporary';

interface End {
  readonly socket: Socket;
  /** As the system has handed them over. */
  readonly pieces: Buffer[];
  /** Resolves to the code of the error that has ended it, or `closed`. */
  readonly ended: Promise<string>;
}

function endOf(socket: Socket): End {
  const pieces: Buffer[] = [];
  let end = 'closed';
  socket.setNoDelay(true);
  socket.on('data', (bytes: Buffer) => pieces.push(bytes));
  socket.on('error', (error: NodeJS.ErrnoException) => {
    end = String(error.code);
  });
  const ended = new Promise<string>((resolve) => {
    socket.once('close', () => resolve(end));
  });
  onTestEnd(() => {
    socket.destroy();
  });
  return { socket, pieces, ended };
}

interface Line {
  readonly proxy: TcpProxy;
  readonly client: End;
  readonly server: End;
}

/** A connection through a proxy, with both of its ends. */
async function openLine(name: string): Promise<Line> {
  const listener = createServer();
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestEnd(() => {
    listener.close();
  });
  const target = { host: '127.0.0.1', port: (listener.address() as AddressInfo).port };
  const proxy = await startTcpProxy(target, seededRandom(name));
  const accepted = once(listener, 'connection');
  const client = endOf(connect(proxy.port, '127.0.0.1'));
  const [socket] = (await accepted) as [Socket];
  return { proxy, client, server: endOf(socket) };
}

const TEXT = Buffer.from('what is said, from its first byte to its last');

/** Resolves when an end has got so many bytes. */
async function received({ socket, pieces }: End, length: number): Promise<Buffer> {
  while (Buffer.concat(pieces).length < length) await once(socket, 'data');
  return Buffer.concat(pieces);
}

const DIRECTIONS = [
  ['up', ({ client, server }: Line) => [client, server]],
  ['down', ({ client, server }: Line) => [server, client]],
] as const;

describe.each(DIRECTIONS)('what goes %s', (direction, sidesOf) => {
  async function open(): Promise<Line & { from: End; to: End }> {
    const line = await openLine(direction);
    const [from, to] = sidesOf(line) as [End, End];
    return { ...line, from, to };
  }

  it('arrives', async () => {
    const { from, to } = await open();
    from.socket.write(TEXT);
    expect(await received(to, TEXT.length)).toEqual(TEXT);
    from.socket.end();
    expect(await to.ended).toBe('closed');
  });

  it('arrives byte by byte', async () => {
    const { proxy, from, to } = await open();
    proxy.poison(direction, { sliceOneIn: 1, jitterMs: 2 });
    from.socket.write(TEXT);
    expect(await received(to, TEXT.length)).toEqual(TEXT);
    expect(proxy.counts.slices).toBe(TEXT.length);
    // On a busy machine, some arrive together.
    expect(to.pieces.length).toBeGreaterThan(TEXT.length / 2);
  });

  it('arrives later', async () => {
    const { proxy, from, to } = await open();
    proxy.poison(direction, { latencyMs: 60, jitterMs: 20 });
    const startedAt = performance.now();
    from.socket.write(TEXT);
    await received(to, TEXT.length);
    expect(performance.now() - startedAt).toBeGreaterThan(55);
  });

  it('arrives slowly, and completely even when the connection ends', async () => {
    const { proxy, from, to } = await open();
    proxy.poison(direction, { bytesPerSecond: 10 * TEXT.length });
    const startedAt = performance.now();
    from.socket.end(TEXT);
    await to.ended;
    expect(Buffer.concat(to.pieces)).toEqual(TEXT);
    expect(performance.now() - startedAt).toBeGreaterThan(90);
  });

  it('breaks off, and both sides are reset', async () => {
    const { proxy, from, to } = await open();
    from.socket.write(TEXT);
    await received(to, TEXT.length);
    proxy.resetInFrame(direction);
    from.socket.write(TEXT);
    expect(await to.ended).toBe('ECONNRESET');
    expect(await from.ended).toBe('ECONNRESET');
    const length = Buffer.concat(to.pieces).length - TEXT.length;
    expect(length).toBeGreaterThan(0);
    expect(length).toBeLessThan(TEXT.length);
    expect(proxy.counts.resets[direction]).toBe(1);
  });

  it('is lost, and nobody is notified', async () => {
    const { proxy, from, to } = await open();
    proxy.lose(direction);
    from.socket.write(TEXT);
    // The other direction continues.
    to.socket.write(TEXT);
    expect(await received(from, TEXT.length)).toEqual(TEXT);
    expect(to.pieces).toEqual([]);
    expect([from.socket.readyState, to.socket.readyState]).toEqual(['open', 'open']);
    proxy.restore();
    expect(await Promise.all([from.ended, to.ended])).toEqual(['closed', 'closed']);
    expect(proxy.counts.lostBytes[direction]).toBe(TEXT.length);
  });
});

it('a proxy that is cut ends each new connection', async () => {
  const { proxy, client } = await openLine('cut');
  proxy.cut();
  await client.ended;
  await endOf(connect(proxy.port, '127.0.0.1')).ended;
  expect(proxy.counts.connections).toBe(2);
});
