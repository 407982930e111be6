/** Functions stay small enough to be read at once. Counted from the sources, each with what is inside it. */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { parseSync } from '@swc/core';
import { sourceFiles } from './support/sources';

const MAX_LINES = 60;
const SOURCES = ['application.ts', 'server.ts', 'features', 'handlers', 'services', 'utils'];
const FUNCTIONS = new Set([
  'ArrowFunctionExpression',
  'ClassMethod',
  'Constructor',
  'FunctionDeclaration',
  'FunctionExpression',
  'GetterProperty',
  'MethodProperty',
  'PrivateMethod',
  'SetterProperty',
]);

interface Span {
  readonly start: number;
  readonly end: number;
}

/** Where functions begin and how many lines they have, in the order of the text. */
function functionsOf(source: string): { line: number; lines: number }[] {
  // Spans count bytes from where the parser stood before: the blank statement says where that was.
  const text = Buffer.from(`;${source}`);
  const { body } = parseSync(text.toString(), { syntax: 'typescript', target: 'es2022' });
  const base = body[0]?.span.start ?? 0;
  const lineAt = (offset: number) =>
    text
      .subarray(0, offset - base)
      .toString()
      .split('\n').length;
  return spansOf(body).map(({ start, end }) => ({ line: lineAt(start), lines: lineAt(end) - lineAt(start) + 1 }));
}

function spansOf(node: unknown): Span[] {
  if (typeof node !== 'object' || node === null) return [];
  const inside = Object.values(node).flatMap(spansOf);
  const { type, span } = node as { type?: string; span?: Span };
  return span !== undefined && type !== undefined && FUNCTIONS.has(type) ? [span, ...inside] : inside;
}

const tooLong = (file: string) =>
  functionsOf(readFileSync(file, 'utf8'))
    .filter(({ lines }) => lines > MAX_LINES)
    .map(({ line, lines }) => `${relative('.', file)}:${line} has ${lines} lines`);

it('counts lines of functions of every form, wherever they are', () => {
  const source = [
    "const text = 'ä';",
    'function one() {',
    '  return () => 1;',
    '}',
    'class Two {',
    '  #three() {',
    '  }',
    '  get four() { return 1; }',
    '}',
  ].join('\n');
  expect(functionsOf(source)).toEqual([
    { line: 2, lines: 3 },
    { line: 3, lines: 1 },
    { line: 6, lines: 2 },
    { line: 8, lines: 1 },
  ]);
});

it(`no function is longer than ${MAX_LINES} lines`, () => {
  const files = sourceFiles(SOURCES);
  expect(files.length).toBeGreaterThan(100);
  expect(files.flatMap(tooLong)).toEqual([]);
});
