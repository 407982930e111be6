/** A request as something to paste: a line for a shell, or a program that runs as it is. */

import type { SocketRequest } from './request.ts';
import { type HttpRequest, headersOf } from './rest.ts';

/** Shown in place of the token. */
const PLACEHOLDER = '$TOKEN';

export const LANGUAGES = { curl: toCurl, fetch: toFetch, python: toPython, go: toGo } as const;
export type Language = keyof typeof LANGUAGES;

export function isLanguage(name: string): name is Language {
  return Object.hasOwn(LANGUAGES, name);
}

/** The same request with a placeholder for its token. */
export function withoutToken(request: HttpRequest): HttpRequest {
  return request.token ? { ...request, token: PLACEHOLDER } : request;
}

/** With the client package. */
export function toClientCall({ emit, payload }: SocketRequest): string {
  const argument = payload === undefined ? '' : `, ${JSON.stringify(payload)}`;
  return `await client.request('${emit}'${argument})`;
}

/** One word of a shell, whatever it contains. */
function quoteForShell(text: string): string {
  if (text === `Authorization: Bearer ${PLACEHOLDER}`) return `"${text}"`;
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function toCurl(request: HttpRequest): string {
  const { method, base, path, body } = request;
  const parts = ['curl'];
  if (method !== 'GET') parts.push('-X', method);
  parts.push(quoteForShell(base + path));
  for (const [name, value] of Object.entries(headersOf(request))) parts.push('-H', quoteForShell(`${name}: ${value}`));
  if (body !== undefined) parts.push('-d', quoteForShell(JSON.stringify(body)));
  return parts.join(' ');
}

/** A text as JavaScript, Python and Go all write it. */
const quote = JSON.stringify;

function indent(text: string, by: string): string {
  return text.replaceAll('\n', `\n${by}`);
}

function toFetch(request: HttpRequest): string {
  const { method, base, path, body } = request;
  const lines = [`method: ${quote(method)},`];
  const headers = headersOf(request);
  if (Object.keys(headers).length > 0) lines.push(`headers: ${JSON.stringify(headers, null, 2)},`);
  if (body !== undefined) lines.push(`body: JSON.stringify(${JSON.stringify(body, null, 2)}),`);
  const options = lines.map((line) => `  ${indent(line, '  ')}\n`).join('');
  return `const response = await fetch(${quote(base + path)}, {\n${options}});\nconsole.log(await response.text());`;
}

/** Values of JSON as Python writes them. */
function toPythonValue(value: unknown, by = ''): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value !== 'object') return quote(value) ?? 'None';
  const inner = `${by}    `;
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  const parts = Array.isArray(value)
    ? value.map((item) => toPythonValue(item, inner))
    : Object.entries(value).map(([name, item]) => `${quote(name)}: ${toPythonValue(item, inner)}`);
  if (parts.length === 0) return open + close;
  return `${open}\n${parts.map((part) => `${inner}${part},\n`).join('')}${by}${close}`;
}

function toPython(request: HttpRequest): string {
  const { method, base, path, body } = request;
  const lines = [`${quote(base + path)},`, `method=${quote(method)},`];
  const headers = headersOf(request);
  if (Object.keys(headers).length > 0) lines.push(`headers=${toPythonValue(headers, '    ')},`);
  if (body !== undefined) lines.push(`data=json.dumps(${toPythonValue(body, '    ')}).encode(),`);
  const head = body === undefined ? 'import urllib.request' : 'import json\nimport urllib.request';
  const made = `request = urllib.request.Request(\n${lines.map((line) => `    ${line}\n`).join('')})`;
  return `${head}\n\n${made}\nwith urllib.request.urlopen(request) as response:\n    print(response.read().decode())`;
}

function goText(text: string): string {
  return text.includes('`') ? quote(text) : `\`${text}\``;
}

function toGo(request: HttpRequest): string {
  const { method, base, path, body } = request;
  const content = body === undefined ? 'nil' : `strings.NewReader(${goText(JSON.stringify(body))})`;
  const packages = ['fmt', 'io', 'net/http', ...(body === undefined ? [] : ['strings'])];
  const headers = Object.entries(headersOf(request)).map(
    ([name, value]) => `request.Header.Set(${quote(name)}, ${quote(value)})`,
  );
  const lines = [
    `request, err := http.NewRequest(${quote(method)}, ${quote(base + path)}, ${content})`,
    ...GO_CHECK,
    ...headers,
    'response, err := http.DefaultClient.Do(request)',
    ...GO_CHECK,
    'defer response.Body.Close()',
    'text, err := io.ReadAll(response.Body)',
    ...GO_CHECK,
    'fmt.Println(string(text))',
  ];
  const imports = packages.map((name) => `\t"${name}"\n`).join('');
  return `package main\n\nimport (\n${imports})\n\nfunc main() {\n${lines.map((line) => `\t${line}\n`).join('')}}`;
}

const GO_CHECK = ['if err != nil {', '\tpanic(err)', '}'];
