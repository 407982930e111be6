/** The OpenAPI document of a running service, and whether its answers match it. */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';

export type Schema = boolean | Readonly<Record<string, unknown>>;

interface Media {
  readonly schema: Schema;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

export interface DocumentedAnswer {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly $ref: string }>>;
  readonly content: Readonly<Record<string, Media>>;
}

export interface DocumentedParameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly schema: Schema;
  readonly example?: unknown;
}

export interface DocumentedOperation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly security: readonly { readonly bearer: readonly string[] }[];
  readonly parameters?: readonly DocumentedParameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, DocumentedAnswer | { readonly $ref: string }>>;
}

export interface OpenApiDocument {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentedOperation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, Schema>>>>;
}

/** What was answered, to which request. */
export interface Answered {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface Route {
  readonly method: string;
  /** As the document writes it: `/topics/{name}`. */
  readonly path: string;
  readonly operation: DocumentedOperation;
}

const ROOT = 'openapi.json';

export class OpenApi {
  readonly routes: readonly Route[];
  readonly #ajv = new Ajv2020({ strictSchema: true, strictTypes: false, allErrors: true });
  readonly #validators = new Map<Schema, ValidateFunction>();
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor(readonly document: OpenApiDocument) {
    addFormats.default(this.#ajv);
    // The schemas are strict; the rest of the document is no schema.
    this.#ajv.addVocabulary(Object.keys(document));
    this.#ajv.addSchema(document, ROOT);
    this.routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
    );
  }

  static async of(url: string): Promise<OpenApi> {
    const response = await fetch(`${url}/openapi.json`);
    return new OpenApi((await response.json()) as OpenApiDocument);
  }

  /** The route of a request. Fixed paths come before those with a parameter, as in the service. */
  routeOf({ method, path }: Pick<Answered, 'method' | 'path'>): Route | undefined {
    const [pathname = ''] = path.split('?');
    const matching = this.routes.filter((route) => route.method === method && patternOf(route.path).test(pathname));
    return matching.find((route) => route.path === pathname) ?? matching[0];
  }

  /** The answer that the document promises for a status. */
  answerOf(operation: DocumentedOperation, status: number | string): DocumentedAnswer | undefined {
    const answer = operation.responses[status];
    if (answer === undefined || !('$ref' in answer)) return answer;
    return this.resolve(answer.$ref) as DocumentedAnswer;
  }

  /** The error codes that the document names for a route. */
  codesOf(operation: DocumentedOperation): string[] {
    return Object.keys(operation.responses).flatMap((status) => {
      const media = this.answerOf(operation, status)?.content['application/problem+json'];
      return media === undefined ? [] : Object.keys(media.examples ?? {});
    });
  }

  /** What an answer has that the document does not promise. */
  faultsOf(answered: Answered): string[] {
    const route = this.routeOf(answered);
    if (route === undefined) return [`${answered.method} ${answered.path} is not in the document`];
    const answer = this.answerOf(route.operation, answered.status);
    if (answer === undefined) return [`the status ${answered.status} is not in the document`];
    const type = answered.headers.get('content-type')?.split(';')[0] ?? 'nothing';
    const media = answer.content[type];
    if (media === undefined) return [`the type ${type} is not in the document`];
    const value: unknown =
      type.endsWith('json') && !type.includes('ndjson') ? JSON.parse(answered.text) : answered.text;
    return [...this.faults(media.schema, value), ...this.#headerFaults(answer, answered.headers)];
  }

  #headerFaults({ headers = {} }: DocumentedAnswer, found: Headers): string[] {
    if (!found.has('x-request-id')) return ['there is no X-Request-Id'];
    return Object.entries(headers).flatMap(([name, { $ref }]) => {
      const value = found.get(name);
      const { schema } = this.resolve($ref) as { schema: Schema & { type?: string } };
      if (value === null) return [];
      return this.faults(schema, schema.type === 'integer' ? Number(value) : value).map((fault) => `${name}: ${fault}`);
    });
  }

  /** What is wrong with a value according to a schema of the document. */
  faults(schema: Schema, value: unknown): string[] {
    const validate = this.#validators.get(schema) ?? this.#compile(schema);
    this.#validators.set(schema, validate);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  }

  /** The same schema may be used as another object. */
  #compile(schema: Schema): ValidateFunction {
    const text = JSON.stringify(schema);
    const validate = this.#compiled.get(text) ?? this.#ajv.compile(withRoot(schema));
    this.#compiled.set(text, validate);
    return validate;
  }

  /** @param reference `#/components/…`. */
  resolve(reference: string): unknown {
    const [, ...names] = reference.split('/');
    return names.reduce<unknown>((node, name) => (node as Record<string, unknown>)[name], this.document);
  }
}

/** The same schema outside the document: references lead back into it. */
function withRoot(schema: Schema): Schema {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/', `"${ROOT}#/`)) as Schema;
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`);
}
