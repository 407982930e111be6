/** A way to a MongoDB on which the commands are seen that a node gives it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { BSON } from 'mongodb';
import { onTestEnd } from './temporary';

/** A command, as the driver wrote it. */
export interface SeenCommand {
  /** `find`, `insert`, … */
  readonly name: string;
  readonly collection: string;
  /** All of it, to look for what it is about. */
  readonly text: string;
}

export interface CountingProxy {
  /** The address of the same database on this way. */
  readonly url: string;
  /** In the order in which they were given. */
  readonly seen: readonly SeenCommand[];
}

const HEADER_BYTES = 16;
/** After the header: flags. Then sections, each with its kind in one byte. */
const SECTIONS_AT = HEADER_BYTES + 4;
const KIND_SEQUENCE = 1;
/** What commands are written as; the first word of a connection is not. */
const OP_MSG = 2013;

/** Ends with the test. */
export async function startCountingProxy(storeUrl: string): Promise<CountingProxy> {
  const url = new URL(storeUrl);
  const target = { host: url.hostname, port: Number(url.port) };
  const seen: SeenCommand[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target);
    onMessages(near, (message) => {
      if (message.readInt32LE(HEADER_BYTES - 4) === OP_MSG) seen.push(commandOf(message));
    });
    near.pipe(far);
    far.pipe(near);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        near.destroy();
        far.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url: url.href, seen };
}

function commandOf(message: Buffer): SeenCommand {
  const documents = documentsOf(message);
  const [name = '', collection] = Object.entries(documents[0] ?? {})[0] ?? [];
  return { name, collection: String(collection), text: JSON.stringify(documents) };
}

/** The command, and the documents that are sent beside it. */
function documentsOf(message: Buffer): BSON.Document[] {
  const documents: BSON.Document[] = [];
  for (let at = SECTIONS_AT; at < message.length; ) {
    const isSequence = message[at] === KIND_SEQUENCE;
    const length = message.readInt32LE(at + 1);
    let document = at + 1;
    if (isSequence) document = message.indexOf(0, document + 4) + 1;
    const end = at + 1 + length;
    for (; document < end; document += message.readInt32LE(document)) {
      documents.push(BSON.deserialize(message.subarray(document, document + message.readInt32LE(document))));
    }
    at = end;
  }
  return documents;
}

/** Calls `take` for each whole message of the protocol: its first four bytes are its length. */
function onMessages(socket: Socket, take: (message: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    while (rest.length >= 4 && rest.length >= rest.readInt32LE(0)) {
      const length = rest.readInt32LE(0);
      take(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
  });
}
