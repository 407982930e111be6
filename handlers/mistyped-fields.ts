/** Fields of a send that nobody reads although they resemble an option: reported in the answer and in the log. */
import type { z } from 'zod';
import type { Logger } from '../services/observability/logger';
import { nearestName } from '../utils/near-names';
import type { Sent } from './send';

/** Words that the doors themselves read, beside those of a schema, whatever they resemble. */
const WORDS_OF_DOORS = new Set(['action', 'ref', 'topic_name', 'content', 'topic', 'to', 'userId', 'broadcast']);
/** Of a body with a million fields, only the first are examined. */
const MAX_FIELDS = 64;
const MAX_WARNINGS = 8;
/** Kinds of mistakes that are logged, once each: a service that makes one makes it with every send. */
const MAX_LOGGED = 100;

type ObjectSchema = z.ZodObject<z.ZodRawShape>;

/** Sentences about what a sender should check. */
export interface Warned {
  readonly warnings?: readonly string[];
}

export type MistypedFields = ReturnType<typeof createMistypedFields>;

export function createMistypedFields(logger: Pick<Logger, 'warn'>) {
  const logged = new Set<string>();

  /** The fields of an input that resemble one of the schema. */
  function find(schema: ObjectSchema, input: unknown): readonly string[] {
    const warnings: string[] = [];
    let count = 0;
    for (const name in input as object) {
      count += 1;
      if (count > MAX_FIELDS || warnings.length === MAX_WARNINGS) break;
      const warning = judge(name, schema.shape);
      if (warning !== undefined) warnings.push(warning);
    }
    for (const warning of warnings) log(warning);
    return warnings;
  }

  function log(warning: string): void {
    if (logged.has(warning) || logged.size === MAX_LOGGED) return;
    logged.add(warning);
    logger.warn({ warning }, 'a sender used an unknown field');
  }

  /** Makes an operation, whose last argument is the input, report mistyped fields. */
  function warned<Args extends readonly unknown[], Answer extends object>(
    schema: ObjectSchema,
    operation: (...args: Args) => Promise<Sent<Answer>>,
  ): (...args: Args) => Promise<Sent<Answer & Warned>> {
    return async (...args) => {
      const sent = await operation(...args);
      const warnings = find(schema, args.at(-1));
      return warnings.length === 0 ? sent : { ...sent, answer: { ...sent.answer, warnings } };
    };
  }

  return { find, warned };
}

function judge(name: string, shape: z.ZodRawShape): string | undefined {
  // A name that is no word is not repeated anywhere.
  if (Object.hasOwn(shape, name) || WORDS_OF_DOORS.has(name) || !/^[\w-]{1,32}$/.test(name)) return undefined;
  const nearest = nearestName(name, Object.keys(shape));
  return nearest === undefined ? undefined : `${name} is not known; did you mean ${nearest}?`;
}
