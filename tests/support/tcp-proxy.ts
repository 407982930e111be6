/** A way to a server that can be cut, made silent, and restored. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestEnd } from './temporary';

export interface TcpProxy {
  readonly port: number;
  /** Ends all connections, and each new one at once. */
  cut(): void;
  /** Passes nothing on any more, and says nothing of it: as a host that has lost its network. */
  hang(): void;
  /** Lets the server do what it is asked, and drops what it answers. */
  loseAnswers(): void;
  /** Passes on again what comes from now on. Connections of before are ended: they have lost something. */
  restore(): void;
}

/** Ends with the test. */
export async function startTcpProxy(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  let mode: 'open' | 'cut' | 'hanging' | 'one way' = 'open';
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    if (mode === 'cut') {
      near.destroy();
      return;
    }
    const far = connect(target);
    join(near, far, () => mode === 'open' || mode === 'one way');
    join(far, near, () => mode === 'open');
  });

  function join(from: Socket, to: Socket, isPassing: () => boolean): void {
    sockets.add(from);
    from.on('data', (bytes) => {
      if (isPassing()) to.write(bytes);
    });
    // What is cut ends on both sides, whatever the reason was.
    from.on('error', () => to.destroy());
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
  }

  const endAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    endAll();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      mode = 'cut';
      endAll();
    },
    hang: () => {
      mode = 'hanging';
    },
    loseAnswers: () => {
      mode = 'one way';
    },
    restore: () => {
      mode = 'open';
      endAll();
    },
  };
}
