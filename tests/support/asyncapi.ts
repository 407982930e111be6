/** The AsyncAPI document of a running service, and whether frames match it. */
import { Ajv, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';

type Schema = boolean | Readonly<Record<string, unknown>>;

interface Message {
  readonly name: string;
  readonly payload: Schema;
  readonly headers?: Schema;
}

interface AsyncApiDocument {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
  readonly channels: Readonly<Record<string, { readonly messages: Readonly<Record<string, Message>> }>>;
}

const ROOT = 'asyncapi.json';

/** One endpoint of the document. */
export class AsyncApi {
  readonly #ajv = new Ajv({ strictSchema: true, strictTypes: false, allErrors: true });
  readonly #validators = new Map<Schema, ValidateFunction>();
  readonly #messages: Readonly<Record<string, Message>>;

  private constructor(
    private readonly document: AsyncApiDocument,
    endpoint: 'socketIo' | 'plain',
  ) {
    addFormats.default(this.#ajv);
    // The schemas are strict; the rest of the document is no schema.
    this.#ajv.addVocabulary(Object.keys(document));
    this.#ajv.addSchema(document, ROOT);
    this.#messages = document.channels[endpoint]?.messages ?? {};
  }

  static async of(url: string, endpoint: 'socketIo' | 'plain'): Promise<AsyncApi> {
    const response = await fetch(`${url}/asyncapi.json`);
    return new AsyncApi((await response.json()) as AsyncApiDocument, endpoint);
  }

  /** The names of the messages in one direction. */
  names(direction: 'server' | 'client'): string[] {
    const entries = Object.entries(this.#messages).filter(([key]) => key.startsWith(`${direction}.`));
    return entries.map(([, { name }]) => name);
  }

  /**
   * What is wrong with an event of the service: its payload, and for a custom event over Socket.IO the second argument.
   */
  eventFaults(event: string, payload: unknown, details?: unknown): string[] {
    const { payload: schema, headers } = this.#find('server', event) ?? this.#message('server.custom');
    const faults = this.#faults(schema, payload);
    return headers === undefined ? faults : [...faults, ...this.#faults(headers, details)];
  }

  /** Is this the name of one of the service's own events? */
  isKnown(event: string): boolean {
    return this.#find('server', event) !== undefined;
  }

  /** What a client may send under this name; references in it are for `resolve`. */
  requestSchema(name: string): Schema {
    return this.#message(keyOf('client', name)).payload;
  }

  /** @param reference `#/components/schemas/<name>`. */
  resolve(reference: string): Schema {
    const schema = this.document.components.schemas[reference.split('/').at(-1) ?? ''];
    if (schema === undefined) throw new Error(`${reference} is not in the document`);
    return schema;
  }

  requestFaults(name: string, payload: unknown): string[] {
    return this.#faults(this.#message(keyOf('client', name)).payload, payload);
  }

  replyFaults(name: string, reply: { readonly ok: boolean }): string[] {
    return this.#faults(this.#message(reply.ok ? keyOf('reply', name) : 'refused').payload, reply);
  }

  #find(direction: string, name: string): Message | undefined {
    return this.#messages[keyOf(direction, name)];
  }

  #message(key: string): Message {
    const message = this.#messages[key];
    if (message === undefined) throw new Error(`${key} is not in the document`);
    return message;
  }

  #faults(schema: Schema, value: unknown): string[] {
    const validate = this.#validators.get(schema) ?? this.#ajv.compile(withRoot(schema));
    this.#validators.set(schema, validate);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  }
}

function keyOf(direction: string, name: string): string {
  return `${direction}.${name.replaceAll(':', '.')}`;
}

/** The same schema outside the document: references lead back into it. */
function withRoot(schema: Schema): Schema {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/', `"${ROOT}#/`)) as Schema;
}
