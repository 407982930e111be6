/** The problems that a route may answer. */
import { AppError, ERROR_KINDS, type ErrorCode, kindOf, toProblem } from '../../utils/errors';
import { commonHeaders, headersFor, headersOf } from './headers';
import type { JsonSchema } from './json-schema';
import type { Operation } from './operations/operation';
import { pathParameters } from './parameters';

const PROBLEM_TYPE = 'application/problem+json';

/** Answers that refuse. Each set of codes is described once, and referenced. */
export class ProblemCollector {
  readonly #answers = new Map<string, JsonSchema>();

  /** @param problem the schema of all problems. */
  constructor(private readonly problem: JsonSchema) {}

  /** All answers so far, by name. */
  get components(): Record<string, JsonSchema> {
    return Object.fromEntries(this.#answers);
  }

  /** The refusals of a route, by status. */
  answersOf(operation: Operation): Record<string, JsonSchema> {
    const byStatus = new Map<number, ErrorCode[]>();
    for (const code of problemsOf(operation)) {
      const { status } = ERROR_KINDS[code];
      byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
    }
    return Object.fromEntries([...byStatus].map(([status, codes]) => [status, this.#refer(operation, status, codes)]));
  }

  #refer(operation: Operation, status: number, codes: readonly ErrorCode[]): JsonSchema {
    const name = [...codes, ...(operation.scope === 'public' ? ['public'] : [])].join('.');
    const schema = { allOf: [this.problem, { properties: { status: { const: status }, code: { enum: codes } } }] };
    const examples = Object.fromEntries(codes.map((code) => [code, { value: exampleOf(code) }]));
    this.#answers.set(name, {
      description: codes.map((code) => `[\`${code}\`](/docs/errors#${code}): ${ERROR_KINDS[code].title}.`).join(' '),
      headers: headersOf([...commonHeaders(operation), ...headersFor(codes)]),
      content: { [PROBLEM_TYPE]: { schema, examples } },
    });
    return { $ref: `#/components/responses/${name}` };
  }
}

/** All possible errors: those of the guards, of the parameters, of the body, and its own. */
function problemsOf(operation: Operation): ErrorCode[] {
  const { route, scope, body, query, problems = [] } = operation;
  const isPublic = scope === 'public';
  const isChecked = body !== undefined || query !== undefined || pathParameters(route).length > 0;
  const codes: ErrorCode[] = [
    ...(isChecked ? (['bad_request'] as const) : []),
    ...(body === undefined ? [] : (['invalid_json', 'body_too_large', 'unsupported_media_type'] as const)),
    ...(isPublic ? [] : (['unauthorized', 'token_expired', 'token_revoked', 'rate_limited', 'overloaded'] as const)),
    ...(scope === undefined || isPublic ? [] : (['insufficient_scope'] as const)),
    ...problems,
    'internal',
  ];
  const order = Object.keys(ERROR_KINDS);
  return [...new Set(codes)].sort((one, other) => order.indexOf(one) - order.indexOf(other));
}

function exampleOf(code: ErrorCode): JsonSchema {
  return { ...toProblem(new AppError(code, `${kindOf(code).title}.`), { origin: '' }) };
}
