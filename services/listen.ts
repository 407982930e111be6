/** Begins and ends listening; a failure is a sentence for the operator. */
import type { Server } from 'node:http';
import type { Config } from '../utils/config';

type Address = Pick<Config, 'HOST' | 'PORT'>;

/**
 * Connections that the kernel queues until they are accepted; it lowers this to its own limit. Beyond it, clients of a
 * reconnecting crowd get no answer and retry after 1, 3, 7 and 15 s. Node's default is 511.
 */
const ACCEPT_BACKLOG = 65_535;

/** HOST and PORT cannot be listened on. The message is a sentence for the operator. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

const LISTEN_FAULTS = new Map<string | undefined, (address: Address) => string>([
  [
    'EADDRINUSE',
    ({ PORT }) => `PORT ${PORT} is in use by another process (EADDRINUSE): stop it, or choose another port.`,
  ],
  ['EACCES', ({ PORT }) => `PORT ${PORT} is reserved for privileged processes (EACCES): choose one from 1024 up.`],
  ['EADDRNOTAVAIL', ({ HOST }) => `HOST ${HOST} is not an address of this machine (EADDRNOTAVAIL).`],
  ['ENOTFOUND', ({ HOST }) => `HOST ${HOST} cannot be resolved to an address (ENOTFOUND).`],
  ['EAI_AGAIN', ({ HOST }) => `HOST ${HOST} cannot be resolved to an address (EAI_AGAIN).`],
]);

function toListenError(error: NodeJS.ErrnoException, config: Address): ListenError {
  const describe =
    LISTEN_FAULTS.get(error.code) ?? (() => `The service cannot listen on HOST and PORT: ${error.message}.`);
  return new ListenError(describe(config), { cause: error });
}

/** @throws ListenError */
export function listen(server: Server, config: Address): Promise<void> {
  const { HOST, PORT } = config;
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) => reject(toListenError(error, config));
    server.once('error', refuse);
    server.listen({ port: PORT, host: HOST, backlog: ACCEPT_BACKLOG }, () => {
      server.off('error', refuse);
      resolve();
    });
  });
}

/** Resolves when the last connection is closed. A server that never listened is closed already. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
