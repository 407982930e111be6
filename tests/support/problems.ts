/** What a refusal looks like, over HTTP and over sockets. */
import type { ErrorCode, Problem } from '../../utils/errors';
import type { Answer } from './http';

export interface Refusal {
  readonly status: number;
  readonly code: ErrorCode;
  /** The field that is named in `errors`; `''` is the whole input. */
  readonly path?: string;
}

/** Every refusal: kind, sentence and code, and the field if one is at fault. */
export function expectProblem(problem: unknown, { status, code, path }: Refusal): void {
  expect(problem).toMatchObject({
    type: expect.stringMatching(new RegExp(`^http://127\\.0\\.0\\.1:\\d+/docs/errors#${code}$`)),
    title: expect.stringMatching(/\S/),
    status,
    detail: expect.stringMatching(/\S/),
    code,
  });
  if (path !== undefined) expect(pathsOf(problem)).toContain(path);
}

/** A refusal over HTTP also names the request, as its header does. */
export function expectProblemAnswer(answer: Answer, refusal: Refusal): void {
  expect({ status: answer.status, type: answer.headers['content-type'] }).toEqual({
    status: refusal.status,
    type: expect.stringMatching(/^application\/problem\+json\b/),
  });
  const problem = JSON.parse(answer.text) as Problem;
  expectProblem(problem, refusal);
  expect(problem.requestId).toMatch(/^[\w-]{8,}$/);
  expect(problem.requestId).toBe(answer.headers['x-request-id']);
}

function pathsOf(problem: unknown): string[] {
  const { errors = [] } = problem as Problem;
  for (const { message } of errors) expect(message).toMatch(/\S/);
  return errors.map(({ path }) => path);
}
