/**
 * Sentences for refused fields. Zod's own sentences name types of a programming language; these say what to send, and
 * follow the name of the field: `userId is required`, `limit must be at most 200`.
 */
import type { z } from 'zod';

type Issue = z.core.$ZodRawIssue;

const TYPES: ReadonlyMap<string, string> = new Map([
  ['string', 'a string'],
  // All numbers in inputs are whole numbers.
  ['number', 'a whole number'],
  ['int', 'a whole number'],
  ['boolean', 'true or false'],
  ['array', 'an array'],
  ['object', 'an object'],
  ['record', 'an object'],
]);

/** What a bound counts: characters of a text, entries of a list; for a number, it is the value itself. */
const UNITS: ReadonlyMap<string, string> = new Map([
  ['string', 'characters'],
  ['array', 'entries'],
]);

/** The error map for every check of input and configuration; a schema's own sentence takes precedence. */
export const inputSentences = { error: sentenceFor, reportInput: false };

function sentenceFor(issue: Issue): string {
  if (issue.code === 'invalid_type') return typeSentence(issue);
  if (issue.code === 'invalid_value') return valueSentence(issue);
  if (issue.code === 'too_small') return boundSentence(issue.origin, 'at least', issue.minimum);
  if (issue.code === 'too_big') return boundSentence(issue.origin, 'at most', issue.maximum);
  return issue.input === undefined ? 'is required' : 'is not valid';
}

function typeSentence({ input, expected }: Extract<Issue, { code: 'invalid_type' }>): string {
  return input === undefined ? 'is required' : `must be ${TYPES.get(expected) ?? expected}`;
}

function valueSentence({ input, values }: Extract<Issue, { code: 'invalid_value' }>): string {
  const names = values.map(String);
  const rule = names.length === 1 ? `must be ${names[0]}` : `must be one of ${names.join(', ')}`;
  return input === undefined ? `is required and ${rule}` : rule;
}

function boundSentence(origin: string, word: 'at least' | 'at most', bound: number | bigint): string {
  const unit = UNITS.get(origin);
  if (unit === undefined) return `must be ${word} ${bound}`;
  return word === 'at least' && bound === 1 ? 'must not be empty' : `must have ${word} ${bound} ${unit}`;
}
