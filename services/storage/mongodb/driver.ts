/**
 * A flaw of the driver (7.9.0), mended from outside: a command that is written to a socket between its destruction and
 * its `close` waits for a `drain` that never comes, and no timeout of the driver ends that. If it was the check of a
 * server, that server is never found again. See docs/decisions/0021-commands-end-with-their-connection.md.
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
