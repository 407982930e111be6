/**
 * A flaw of the driver (7.9.0), mended from outside. Between the moment a socket is destroyed and its `close` event, a
 * command may still be written to it. The driver takes the refusal for a full buffer, and waits for a `drain` that never
 * comes: no timeout of its ends that. If the command was the check of a server, that server is never found again.
 */
import type { Duplex } from 'node:stream';
import type { MongoClientOptions } from 'mongodb';

type ConnectionClass = new (stream: Duplex, options: object) => object;

/** The package exports only the type of it. */
const { Connection } = require('mongodb/lib/cmap/connection') as { readonly Connection: ConnectionClass };

class EndingConnection extends Connection {
  constructor(stream: Duplex, options: object) {
    super(stream, options);
    // The connection has noted by then that it is closed: whoever waits wakes up, and fails with that.
    stream.once('close', () => stream.emit('drain'));
  }
}

/** Commands end when their connection does. The option is not part of the driver's public types. */
export const WITH_ENDING_COMMANDS = { connectionType: EndingConnection } as MongoClientOptions;
