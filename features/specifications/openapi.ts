/** The OpenAPI document of the HTTP routes, generated from the schemas that check the requests. */
import { problemAnswer } from '../../utils/answers/common';
import { idempotencyKeySchema } from '../../utils/schemas';
import { commonHeaders, HEADERS, type HeaderName, headersOf } from './headers';
import { type JsonSchema, SchemaCollector } from './json-schema';
import { OPERATIONS } from './operations/index';
import { type Body, type Operation, TAGS } from './operations/operation';
import { pathParameters } from './parameters';
import { ProblemCollector } from './problems';

const JSON_TYPE = 'application/json';

const INTRODUCTION = `Send over HTTP; receive over Socket.IO or plain WebSocket ([asyncapi.json](asyncapi.json)).

Requests carry \`Authorization: Bearer <token>\`, a JWT whose \`sub\` is the caller and whose claim \`scope\` says what it
may do: each route names the scope that it needs, \`admin\` includes all others. In development the start-up banner
prints tokens.

Errors are problems (RFC 9457); their \`type\` links to [their entry](docs/errors). Fields of a body that are not
described are ignored.`;

/** Everything except the address: that is where the client found the document. */
export function describeHttp(version: string): JsonSchema {
  return new Describer().describe(version);
}

class Describer {
  readonly #schemas = new SchemaCollector('draft-2020-12');
  readonly #problems = new ProblemCollector(this.#schemas.output(problemAnswer));

  describe(version: string): JsonSchema {
    const paths = this.#paths();
    return {
      openapi: '3.1.1',
      info: { title: 'tidings', version, description: INTRODUCTION },
      tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
      paths,
      components: {
        securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
        headers: HEADERS,
        responses: this.#problems.components,
        schemas: this.#schemas.components,
      },
    };
  }

  #paths(): Record<string, Record<string, JsonSchema>> {
    const paths: Record<string, Record<string, JsonSchema>> = {};
    for (const operation of OPERATIONS) {
      const [method = '', path = ''] = operation.route.split(' ');
      const template = path.replaceAll(/:(\w+)/g, '{$1}');
      paths[template] = { ...paths[template], [method.toLowerCase()]: this.#operation(operation) };
    }
    return paths;
  }

  #operation(operation: Operation): JsonSchema {
    const { id, tag, summary, description, body, scope } = operation;
    const parameters = this.#parameters(operation);
    return {
      operationId: id,
      tags: [tag],
      summary,
      description: [describeScope(scope), description].filter((text) => text !== undefined).join(' '),
      security: scope === 'public' ? [] : [{ bearer: scope === undefined ? [] : [scope] }],
      ...(parameters.length === 0 ? {} : { parameters }),
      ...(body === undefined ? {} : { requestBody: this.#body(body) }),
      responses: { ...this.#answers(operation), ...this.#problems.answersOf(operation) },
    };
  }

  #parameters({ route, query, isSend }: Operation): JsonSchema[] {
    const inPath = pathParameters(route).map(({ name, schema, example }) => ({
      name,
      in: 'path',
      required: true,
      schema: this.#schemas.input(schema),
      example,
    }));
    const { properties = {} } = (query === undefined ? {} : this.#schemas.input(query)) as {
      properties?: Record<string, JsonSchema>;
    };
    const inQuery = Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', schema }));
    return [...inPath, ...inQuery, ...(isSend === true ? [this.#idempotencyKey()] : [])];
  }

  #idempotencyKey(): JsonSchema {
    return {
      name: 'Idempotency-Key',
      in: 'header',
      description: 'A request repeated with the same key within 24 hours is carried out once.',
      schema: this.#schemas.input(idempotencyKeySchema),
    };
  }

  #body({ schema, example, refused = [], isOptional = false }: Body): JsonSchema {
    const content = { [JSON_TYPE]: { schema: withoutFields(this.#schemas.input(schema), refused), example } };
    return { required: !isOptional, content };
  }

  #answers(operation: Operation): Record<string, JsonSchema> {
    const ownHeaders: HeaderName[] = operation.isSend === true ? ['Idempotent-Replay'] : [];
    return Object.fromEntries(
      Object.entries(operation.answers).map(([status, { description, schema, type = JSON_TYPE }]) => {
        const media = type === JSON_TYPE && schema !== undefined ? { schema: this.#schemas.output(schema) } : TEXT;
        // The lines of a text cannot be described in place: their schema is among the components.
        if (schema !== undefined && type !== JSON_TYPE) this.#schemas.output(schema);
        const headers = headersOf([...commonHeaders(operation), ...ownHeaders]);
        return [status, { description, headers, content: { [type]: media } }];
      }),
    );
  }
}

function describeScope(scope: Operation['scope']): string {
  if (scope === undefined) return 'Any valid token.';
  return scope === 'public' ? 'Public: no token.' : `Scope \`${scope}\`.`;
}

const TEXT = { schema: { type: 'string' } };

/** The same schema for a route that refuses some of its fields. */
function withoutFields(schema: JsonSchema, refused: readonly string[]): JsonSchema {
  if (refused.length === 0) return schema;
  const { properties, allOf, ...rest } = schema as {
    properties: Record<string, JsonSchema>;
    allOf?: readonly JsonSchema[];
  };
  const kept = Object.fromEntries(Object.entries(properties).filter(([name]) => !refused.includes(name)));
  const rules = refused.map((name) => ({ not: { required: [name] } }));
  return { ...rest, properties: kept, allOf: [...(allOf ?? []), ...rules] };
}
