/**
 * Reads and sends the requests of a `.http` file as the REST Client extension of VS Code does: `@name = value`,
 * `# @name`, `{{variable}}`, `{{$guid}}`, `{{$timestamp}}`, `{{name.response.body.path}}`. `# expect 200` is this
 * project's own.
 */
import { randomUUID } from 'node:crypto';
import { exchange } from './http';

export interface HttpRequest {
  readonly title: string;
  readonly name: string | undefined;
  /** The status that its comment states. */
  readonly expected: number | undefined;
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

export interface HttpFile {
  readonly variables: Readonly<Record<string, string>>;
  readonly requests: readonly HttpRequest[];
}

const VARIABLE = /^@(\w+)\s*=\s*(.*)$/;
const REQUEST_LINE = /^([A-Z]+) (\S+)$/;

export function parseHttpFile(text: string): HttpFile {
  const [head = '', ...blocks] = text.split(/^###/m);
  const variables = head.split('\n').flatMap((line) => {
    const [, name, value = ''] = VARIABLE.exec(line) ?? [];
    return name === undefined ? [] : [[name, value.trim()] as const];
  });
  return { variables: Object.fromEntries(variables), requests: blocks.map(parseRequest) };
}

function parseRequest(block: string): HttpRequest {
  const [title = '', ...rest] = block.split('\n');
  const comments = rest.filter((line) => line.startsWith('#'));
  const lines = rest.filter((line) => !line.startsWith('#'));
  const [requestLine = '', ...more] = lines.join('\n').trim().split('\n');
  const [, method, target] = REQUEST_LINE.exec(requestLine) ?? [];
  if (method === undefined || target === undefined) throw new Error(`${title.trim()}: there is no request line`);
  const blank = more.indexOf('');
  const body =
    blank < 0
      ? ''
      : more
          .slice(blank + 1)
          .join('\n')
          .trim();
  const expected = stated(comments, /^# expect (\d{3})$/);
  return {
    title: title.trim(),
    name: stated(comments, /^# @name (\w+)$/),
    expected: expected === undefined ? undefined : Number(expected),
    method,
    target,
    headers: Object.fromEntries((blank < 0 ? more : more.slice(0, blank)).map(parseHeader)),
    body: body === '' ? undefined : body,
  };
}

function stated(comments: readonly string[], pattern: RegExp): string | undefined {
  return comments.map((line) => pattern.exec(line)?.[1]).find((value) => value !== undefined);
}

function parseHeader(line: string): readonly [string, string] {
  const colon = line.indexOf(':');
  if (colon < 1) throw new Error(`this is no header: ${line}`);
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}

export interface Outcome {
  readonly request: HttpRequest;
  readonly status: number;
  readonly text: string;
}

/** Sends all requests in order. `variables` replace those of the file. */
export async function runHttpFile(file: HttpFile, variables: Readonly<Record<string, string>>): Promise<Outcome[]> {
  const known = { ...file.variables, ...variables };
  const answers = new Map<string, unknown>();
  const outcomes: Outcome[] = [];
  for (const request of file.requests) {
    const fill = (text: string) => text.replaceAll(/\{\{(.+?)\}\}/g, (_whole, name: string) => resolve(name.trim()));
    const url = new URL(fill(request.target));
    const { status, text } = await exchange(url.origin, {
      method: request.method,
      path: url.pathname + url.search,
      headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, fill(value)])),
      ...(request.body === undefined ? {} : { body: fill(request.body) }),
    });
    if (request.name !== undefined) answers.set(request.name, text);
    outcomes.push({ request, status, text });
  }
  return outcomes;

  function resolve(name: string): string {
    if (name === '$guid') return randomUUID();
    if (name === '$timestamp') return String(Math.floor(Date.now() / 1000));
    const variable = known[name];
    if (variable !== undefined) return variable;
    const [, earlier = '', path = ''] = /^(\w+)\.response\.body\.([\w.]+)$/.exec(name) ?? [];
    const value = fieldOf(JSON.parse(String(answers.get(earlier) ?? 'null')), path);
    if (typeof value !== 'string') throw new Error(`{{${name}}} is not known yet`);
    return value;
  }
}

function fieldOf(value: unknown, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((node, name) => (node as Record<string, unknown> | null | undefined)?.[name], value);
}
