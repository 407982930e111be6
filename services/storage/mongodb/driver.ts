/**
 * Works around a flaw of the driver (7.9.0): a command written to a socket between its destruction and its `close`
 * waits for a `drain` that never comes, without any timeout. If it was the check of a server, that server is never
 * found again. See docs/decisions/0021-commands-end-with-their-connection.md.
 */
import type { Duplex } from 'node:stream';
import { MongoClient, type MongoClientOptions } from 'mongodb';
import { describeMissing } from '../../internals';
import { StoreOpenError } from '../contract';

type ConnectionClass = new (stream: Duplex, options: object) => object;
type WithConnectionType = { readonly connectionType?: ConnectionClass };

/** The package exports only its type. `undefined` when it has moved. */
function findConnection(): ConnectionClass | undefined {
  try {
    const { Connection } = require('mongodb/lib/cmap/connection') as { readonly Connection?: ConnectionClass };
    return Connection;
  } catch {
    // The caller reports it.
    return undefined;
  }
}

function endingCommands(Connection: ConnectionClass): MongoClientOptions {
  class EndingConnection extends Connection {
    constructor(stream: Duplex, options: object) {
      super(stream, options);
      // The connection knows by then that it is closed, so that waiting commands fail.
      stream.once('close', () => stream.emit('drain'));
    }
  }
  // The option is not part of the driver's public types.
  return { connectionType: EndingConnection } as MongoClientOptions;
}

let options: MongoClientOptions | undefined;

/** Ends commands with their connection. @throws StoreOpenError when the driver has moved. */
export function withEndingCommands(): MongoClientOptions {
  if (options !== undefined) return options;
  const Connection = findConnection();
  const found = Connection === undefined ? undefined : endingCommands(Connection);
  if (found === undefined || !isHeeded(found)) throw new StoreOpenError(describeMissing('mongodb: connection type'));
  options = found;
  return found;
}

function isHeeded(wanted: MongoClientOptions): boolean {
  try {
    const read = new MongoClient('mongodb://localhost/', wanted).options as WithConnectionType;
    return read.connectionType === (wanted as WithConnectionType).connectionType;
  } catch {
    // It refuses options that it does not know.
    return false;
  }
}
