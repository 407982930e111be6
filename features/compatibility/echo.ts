/** The event `message` of clients of two compatible services: they send it to hear an echo. */
import type { EchoOperations } from '../../handlers/echo';
import type { Connection } from '../../services/sockets/connections';
import { hasField } from '../../utils/fields';

/** @returns `undefined` for what is no such event. */
export function echo(connection: Connection, payload: unknown, echoes: EchoOperations): object | undefined {
  if (hasField(payload, 'message')) return echoes.echoMessage(connection, payload);
  if (hasField(payload, 'content')) return echoes.echoContent(connection, payload);
  return undefined;
}
