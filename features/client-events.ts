/** The table of client events: name → operation. */
import type { ConnectionOperations } from '../handlers/connection';
import type { MessageOperations } from '../handlers/websocket';
import type { Connection } from '../services/connections';
import { AppError } from '../utils/errors';

type ClientEvent = (connection: Connection, payload: unknown) => object | Promise<object>;

export type ClientEvents = ReadonlyMap<string, ClientEvent>;

export function createClientEvents(messages: MessageOperations, own: ConnectionOperations): ClientEvents {
  return new Map<string, ClientEvent>([
    ['ping', (connection) => own.ping(connection)],
    ['ack', own.acknowledge],
    ['history', own.history],
    ['logout', (connection) => own.logout(connection)],
    ['message', (connection, payload) => handleMessage(connection, payload, { messages, own })],
  ]);
}

/** `message` is a direct message, or what two ancestors' clients send to hear an echo. */
async function handleMessage(
  connection: Connection,
  payload: unknown,
  { messages, own }: { messages: MessageOperations; own: ConnectionOperations },
): Promise<object> {
  const fields = new Map(Object.entries(typeof payload === 'object' && payload !== null ? payload : {}));
  if (fields.has('to')) return (await messages.directMessage(connection.caller, payload)).answer;
  if (fields.has('topic')) throw new AppError('not_supported', 'topic: named topics are not supported by this version');
  if (fields.has('message')) return own.echoMessage(connection, fields.get('message'));
  if (fields.has('content')) return own.echoContent(connection, fields.get('content'));
  const message = 'expected `to` with `type` and `data`, or `message`, or `content`';
  throw new AppError('bad_request', message, { errors: [{ path: '', message }] });
}

/** Answers a client event by the table. @throws AppError `unknown_event`. */
export function dispatchEvent(events: ClientEvents) {
  return async (connection: Connection, event: string, payload: unknown): Promise<object> => {
    const operation = events.get(event);
    if (operation === undefined) throw new AppError('unknown_event', 'There is no such event for clients to send.');
    return operation(connection, payload);
  };
}
