/**
 * Echoes of the event `message`, as clients of compatible services expect them: `{message}` of the WebSocket
 * service and the gateway, `{content}` of the Socket.IO starter.
 */
import type { Connection } from '../../services/delivery/connections';
import { type Clock, toIsoTime } from '../../utils/clock';
import { hasField } from '../../utils/fields';
import { assertMessageSize, echoContentSchema, echoMessageSchema, parseInput } from '../../utils/schemas';

export interface EchoParts {
  readonly clock: Clock;
  /** Limits echoes like messages: UTF-8 bytes of the JSON. */
  readonly maxMessageBytes: number;
}

export type EchoOperations = ReturnType<typeof createEchoes>;

export function createEchoes({ clock, maxMessageBytes }: EchoParts) {
  /** Answers `{message}` with `messageReceived`. */
  function echoMessage(connection: Connection, input: unknown): { timestamp: string } {
    const { message: receivedMessage } = parseInput(echoMessageSchema, input);
    assertMessageSize('message', receivedMessage, maxMessageBytes);
    const timestamp = toIsoTime(clock.now());
    connection.send('messageReceived', {
      success: true,
      message: 'Message received by server',
      data: { receivedMessage, timestamp },
    });
    return { timestamp };
  }

  /** Answers `{content}` with a `message` of type `echo`. */
  function echoContent(connection: Connection, input: unknown): { timestamp: string } {
    const { content } = parseInput(echoContentSchema, input);
    assertMessageSize('content', content, maxMessageBytes);
    const timestamp = toIsoTime(clock.now());
    connection.send('message', { type: 'echo', data: { content }, timestamp });
    return { timestamp };
  }

  return { echoMessage, echoContent };
}

/** @returns `undefined` if it is no such event. */
export function echo(connection: Connection, payload: unknown, echoes: EchoOperations): object | undefined {
  if (hasField(payload, 'message')) return echoes.echoMessage(connection, payload);
  if (hasField(payload, 'content')) return echoes.echoContent(connection, payload);
  return undefined;
}
