/** Schemas of the specifications, generated from those that check what clients send. */
import { z } from 'zod';
import { shownAs } from '../../utils/schemas';

export type JsonSchema = Readonly<Record<string, unknown>>;

/** Makes schemas for one document. Named ones (`meta({ id })`) are collected and referenced. */
export class SchemaCollector {
  readonly #schemas = new Map<string, JsonSchema>();

  /** OpenAPI 3.1 speaks 2020-12, AsyncAPI 3.0 draft 7. */
  constructor(private readonly dialect: 'draft-2020-12' | 'draft-07') {}

  /** All named schemas so far, by name. */
  get components(): Record<string, JsonSchema> {
    const byName = [...this.#schemas].sort(([one], [other]) => (one < other ? -1 : 1));
    return Object.fromEntries(byName);
  }

  /** What clients may send: further fields are ignored. */
  input(schema: z.ZodType): JsonSchema {
    return this.#convert(schema, 'input');
  }

  /** What the service sends: these fields and no others. */
  output(schema: z.ZodType): JsonSchema {
    return this.#convert(schema, 'output');
  }

  #convert(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
    const made = z.toJSONSchema(schema, { io, target: this.dialect, override: (node) => this.#refine(node, io) });
    const { $schema, $defs, definitions, ...converted } = made as JsonSchema & Partial<Record<string, object>>;
    for (const [name, named] of Object.entries({ ...$defs, ...definitions })) {
      this.#schemas.set(name, withReferences(named));
    }
    return withReferences(converted);
  }

  #refine({ zodSchema, jsonSchema }: Node, io: 'input' | 'output'): void {
    const shown = shownAs.get(zodSchema);
    if (shown !== undefined) {
      delete jsonSchema['pattern'];
      Object.assign(jsonSchema, shown);
    }
    const { def } = zodSchema._zod;
    if (def.type === 'default') jsonSchema['default'] = def.defaultValue;
    // The format says the same, and is readable.
    if (jsonSchema['format'] === 'date-time' || jsonSchema['format'] === 'uuid') delete jsonSchema['pattern'];
    if (io === 'output' && jsonSchema['maximum'] === Number.MAX_SAFE_INTEGER) delete jsonSchema['maximum'];
    if (this.dialect === 'draft-07' && jsonSchema['dependentRequired'] !== undefined) {
      jsonSchema['dependencies'] = jsonSchema['dependentRequired'];
      delete jsonSchema['dependentRequired'];
    }
  }
}

interface Node {
  readonly zodSchema: z.core.$ZodTypes;
  readonly jsonSchema: Record<string, unknown>;
}

/** The same schema with its named parts where documents keep them. */
function withReferences(schema: unknown): JsonSchema {
  const text = JSON.stringify(schema).replaceAll(/"#\/(?:\$defs|definitions)\//g, '"#/components/schemas/');
  return JSON.parse(text) as JsonSchema;
}

/** The same object, or each object of a union, with further fields. It no longer has a name. */
export function withFields(schema: z.ZodType, fields: z.core.$ZodShape): z.ZodType {
  if (schema instanceof z.ZodUnion) {
    return z.union((schema.options as readonly z.ZodType[]).map((option) => withFields(option, fields)));
  }
  if (!(schema instanceof z.ZodObject)) throw new Error('Only objects have fields.');
  const { id, examples, ...meta } = schema.meta() ?? {};
  return schema.safeExtend(fields).meta(meta);
}
