/** One socket endpoint of the AsyncAPI document: its messages, as a channel and as operations. */
import type { JsonSchema } from './json-schema';

/** Messages of one endpoint, by direction and name. */
export interface Messages {
  readonly server: ReadonlyMap<string, JsonSchema>;
  readonly client: ReadonlyMap<string, JsonSchema>;
  /** The answer to each message of the client. */
  readonly reply: ReadonlyMap<string, JsonSchema>;
  readonly refused: JsonSchema;
}

export class Endpoint {
  constructor(
    private readonly name: string,
    private readonly messages: Messages,
  ) {}

  channel(about: JsonSchema): JsonSchema {
    const { server, client, reply, refused } = this.messages;
    const entries = [
      ...[...server].map(([name, message]) => [keyOf('server', name), message] as const),
      ...[...client].map(([name, message]) => [keyOf('client', name), message] as const),
      ...[...reply].map(([name, message]) => [keyOf('reply', name), message] as const),
      ['refused', refused] as const,
    ];
    return {
      ...about,
      servers: [{ $ref: `#/servers/${this.name}` }],
      messages: Object.fromEntries(entries),
      bindings: { ws: { method: 'GET', query: HANDSHAKE_QUERY } },
    };
  }

  /** The service sends its events; it receives those of clients, and answers them. */
  operations(): Record<string, JsonSchema> {
    const { server, client } = this.messages;
    const channel = { $ref: `#/channels/${this.name}` };
    const sent = [...server].map(([name, { summary }]) => [
      `${this.name}.${keyOf('server', name)}`,
      { action: 'send', channel, summary, messages: [this.#message(keyOf('server', name))] },
    ]);
    const received = [...client].map(([name, { summary }]) => [
      `${this.name}.${keyOf('client', name)}`,
      {
        action: 'receive',
        channel,
        summary,
        messages: [this.#message(keyOf('client', name))],
        reply: { channel, messages: [this.#message(keyOf('reply', name)), this.#message('refused')] },
      },
    ]);
    return Object.fromEntries([...sent, ...received]) as Record<string, JsonSchema>;
  }

  #message(key: string): JsonSchema {
    return { $ref: `#/channels/${this.name}/messages/${key}` };
  }
}

const HANDSHAKE_QUERY = {
  type: 'object',
  properties: {
    token: { type: 'string', description: 'If it cannot be given in another way.' },
    device: { type: 'string', minLength: 1, maxLength: 128, description: 'Default: the device `default`.' },
  },
} as const;

/** Event names contain colons, which keys of a document should not. */
function keyOf(direction: 'server' | 'client' | 'reply', name: string): string {
  return `${direction}.${name.replaceAll(':', '.')}`;
}
