/** A way to a MongoDB on which the commands are seen that a node gives it. */
import { BSON } from 'mongodb';
import { onMessages, startMongoDbProxy } from './mongodb-proxy';
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
  const proxy = await startMongoDbProxy(target, (near, far) => {
    onMessages(near, (message) => {
      if (message.readInt32LE(HEADER_BYTES - 4) === OP_MSG) seen.push(commandOf(message));
    });
    near.pipe(far);
    far.pipe(near);
  });
  onTestEnd(() => proxy.close());
  url.host = `127.0.0.1:${proxy.port}`;
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
