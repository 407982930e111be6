/** The AsyncAPI document of both socket endpoints, generated from the schemas that check what clients send. */
import { z } from 'zod';
import { problemAnswer } from '../../utils/answers/common';
import { customEventMeta, messageFrame, serverPayloads } from '../../utils/frames';
import { WEBSOCKET_CLOSE_CODES } from '../../utils/protocol';
import { contentSchema } from '../../utils/schemas';
import { Endpoint, type Messages } from './endpoint';
import { type JsonSchema, SchemaCollector, withFields } from './json-schema';
import { ACTIONS, EVENTS, type Request, SERVER_SUMMARIES } from './socket-requests';

const INTRODUCTION = `Two endpoints on one port give the same messages, guarantees and limits. Everything is a topic:
\`@<userId>\` is a person's own, \`*\` is everyone's, other names have members. A device that gives its name acknowledges
with \`ack\`; what it has not acknowledged comes again on its next connect. Sending over HTTP is in
[openapi.json](openapi.json).`;

const SOCKET_IO = `Event and payload as Socket.IO sends them, in the default namespace. Where a message has \`headers\`, they
describe the second argument of the event. A client event may carry a callback, which gets the reply.`;

const PLAIN = `Text frames with one JSON object each. Also on \`/\`, and on \`/<token>\`. The WebSocket is always accepted, and
refused by a close code.`;

/** A sender may choose any name that the service does not use itself. */
const customName = contentSchema.shape.event.unwrap();
const ref = z
  .union([z.string().max(128), z.number()])
  .meta({ description: 'Returned in the reply.' })
  .optional();

/** Everything except the address: that is where the client found the document. */
export function describeSockets(version: string): JsonSchema {
  const schemas = new SchemaCollector('draft-07');
  const socketIo = new Endpoint('socketIo', socketIoMessages(schemas));
  const plain = new Endpoint('plain', plainMessages(schemas));
  return {
    asyncapi: '3.0.0',
    info: { title: 'tidings over sockets', version, description: INTRODUCTION },
    defaultContentType: 'application/json',
    channels: {
      socketIo: socketIo.channel({ address: null, title: 'Socket.IO', description: SOCKET_IO }),
      plain: plain.channel({
        address: '/ws',
        title: 'Plain WebSocket',
        description: PLAIN,
        'x-close-codes': WEBSOCKET_CLOSE_CODES,
      }),
    },
    operations: { ...socketIo.operations(), ...plain.operations() },
    components: { schemas: schemas.components, securitySchemes: SECURITY_SCHEMES },
  };
}

const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
  query: { type: 'httpApiKey', in: 'query', name: 'token', description: 'Ends up in the logs of proxies.' },
  handshake: { type: 'apiKey', in: 'password', description: 'Socket.IO: `auth.token`. Plain: the first frame `auth`.' },
} as const;

const SECURITY = Object.keys(SECURITY_SCHEMES).map((name) => ({ $ref: `#/components/securitySchemes/${name}` }));

/** Where the endpoints are: at the address by which the client reached the service. */
export function socketServers(base: string): Record<string, JsonSchema> {
  const { host, protocol, pathname } = new URL(base);
  const prefix = pathname.replace(/\/$/, '');
  const server = { host, protocol: protocol === 'https:' ? 'wss' : 'ws', security: SECURITY };
  return {
    socketIo: { ...server, pathname: `${prefix}/socket.io/`, title: 'Socket.IO', protocolVersion: '5' },
    plain: {
      ...server,
      ...(prefix === '' ? {} : { pathname: prefix }),
      title: 'Plain WebSocket',
      protocolVersion: '13',
    },
  };
}

function socketIoMessages(schemas: SchemaCollector): Messages {
  const ok = z.literal(true);
  const server = new Map<string, JsonSchema>(
    Object.entries(serverPayloads).map(([name, payload]) => [
      name,
      { name, summary: SERVER_SUMMARIES[name as keyof typeof serverPayloads], payload: schemas.output(payload) },
    ]),
  );
  server.set('custom', {
    name: 'custom',
    summary: 'A message sent with the option `event`: it has that name, and `data` as payload',
    payload: {},
    headers: schemas.output(customEventMeta),
  });
  return {
    server,
    client: describeRequests(EVENTS, ({ payload }) =>
      payload === undefined ? { type: 'null' } : schemas.input(payload),
    ),
    reply: describeReplies(EVENTS, ({ answer }) => schemas.output(withFields(answer, { ok }))),
    refused: {
      name: 'refused',
      summary: 'What a callback gets when the event was refused',
      payload: schemas.output(z.object({ ok: z.literal(false), error: problemAnswer })),
    },
  };
}

function plainMessages(schemas: SchemaCollector): Messages {
  const replied = { event: z.literal('reply'), ref };
  // Echoes are for clients of Socket.IO.
  const { messageReceived, ...payloads } = serverPayloads;
  const server = new Map<string, JsonSchema>(
    Object.entries({ ...payloads, message: messageFrame, error: problemAnswer }).map(([name, payload]) => [
      name,
      {
        name,
        summary: SERVER_SUMMARIES[name as keyof typeof serverPayloads],
        payload: schemas.output(withFields(payload, { event: z.literal(name) })),
      },
    ]),
  );
  server.set('custom', {
    name: 'custom',
    summary: 'A message sent with the option `event`',
    payload: schemas.output(withFields(customEventMeta, { event: customName, data: z.unknown() })),
  });
  return {
    server,
    client: describeRequests(
      ACTIONS,
      ({ payload = z.object({}) }, name) => schemas.input(withFields(payload, { action: z.literal(name), ref })),
      (name, example) => ({ action: name, ...example }),
    ),
    reply: describeReplies(ACTIONS, ({ answer }) =>
      schemas.output(withFields(answer, { ...replied, ok: z.literal(true) })),
    ),
    refused: {
      name: 'reply',
      summary: 'The action was refused',
      payload: schemas.output(z.object({ ...replied, ok: z.literal(false), error: problemAnswer })),
    },
  };
}

type ToSchema = (request: Request, name: string) => JsonSchema;

function describeRequests(
  requests: Readonly<Record<string, Request>>,
  payloadOf: ToSchema,
  frame: (name: string, example: object) => object = (_name, example) => example,
): Map<string, JsonSchema> {
  return new Map(
    Object.entries(requests).map(([name, request]) => {
      const { summary, example, payload } = request;
      const examples = payload === undefined ? {} : { examples: [{ payload: frame(name, example ?? {}) }] };
      return [name, { name, summary, payload: payloadOf(request, name), ...examples }];
    }),
  );
}

function describeReplies(requests: Readonly<Record<string, Request>>, payloadOf: ToSchema): Map<string, JsonSchema> {
  return new Map(
    Object.entries(requests).map(([name, request]) => [
      name,
      { name: 'reply', summary: `The answer to \`${name}\``, payload: payloadOf(request, name) },
    ]),
  );
}
