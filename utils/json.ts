/** JSON as clients send it. Its numbers are kept or refused: a double would round some of them silently. */
import { type AppError, badField } from './errors';

const MAX_PATH_LENGTH = 64;
const MESSAGE = 'is a number that cannot be kept exactly: send it as a string';

/**
 * Parses a JSON text.
 * @throws SyntaxError when it is not JSON; AppError `bad_request` naming the first number that would be rounded.
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  assertExactNumbers(text);
  return value;
}

/** @param text valid JSON. @throws AppError `bad_request` naming the first number that would be rounded. */
function assertExactNumbers(text: string): void {
  const path = findInexactNumber(text);
  if (path !== undefined) throw inexactNumber(path);
}

export function inexactNumber(path: readonly string[]): AppError {
  const name = path.slice(0, MAX_PATH_LENGTH).join('.');
  return badField(name, MESSAGE);
}

/**
 * Costs less than JSON.parse of the same text, whatever it contains: strangers choose the text.
 * @param text valid JSON. @returns the path of the first number that a double cannot hold.
 */
export function findInexactNumber(text: string): readonly string[] | undefined {
  return new NumberSearch(text).run();
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const ZERO = 0x30;
const NINE = 0x39;
/** An object before its first name. */
const UNNAMED = -1;
const POINT = 0x2e;
const SMALL_E = 0x65;
/** This many digits are always kept, */
const CERTAIN_DIGITS = 15;
/** with an exponent of this many characters, such as `e99`, */
const CERTAIN_EXPONENT = 3;
/** and this many after `0.` do not become zero. */
const CERTAIN_FRACTION = 300;

/** Reads a text once, character by character, and remembers only its position. */
class NumberSearch {
  /** For each open list the index, from 0; for each object UNNAMED minus the position of its last name. */
  readonly #levels: number[] = [];
  #textStart = 0;

  constructor(private readonly text: string) {}

  run(): readonly string[] | undefined {
    const { text } = this;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.#textStart = at;
        at = endOfText(text, at);
      } else if (code >= ZERO && code <= NINE) {
        const end = endOfNumber(text, at);
        if (!isExactBetween(text, at, end)) return this.#path;
        at = end - 1;
      } else this.#readSign(code);
    }
    return undefined;
  }

  #readSign(code: number): void {
    const levels = this.#levels;
    const level = levels.length - 1;
    if (code === COMMA) {
      const place = levels[level] ?? UNNAMED;
      if (place >= 0) levels[level] = place + 1;
    } else if (code === COLON) levels[level] = UNNAMED - this.#textStart;
    else if (code === OPENING_BRACKET) levels.push(0);
    else if (code === OPENING_BRACE) levels.push(UNNAMED);
    else if (code === CLOSING_BRACKET || code === CLOSING_BRACE) levels.pop();
  }

  get #path(): readonly string[] {
    return this.#levels.slice(0, MAX_PATH_LENGTH).map((level) => {
      if (level >= 0) return String(level);
      const start = UNNAMED - level;
      return JSON.parse(this.text.slice(start, endOfText(this.text, start) + 1)) as string;
    });
  }
}

/** @returns the position of the quote that ends the text. */
function endOfText(text: string, start: number): number {
  let at = start + 1;
  for (let code = text.charCodeAt(at); code !== QUOTE; code = text.charCodeAt(at)) at += code === BACKSLASH ? 2 : 1;
  return at;
}

/** @returns the position where something else begins: digits, `+`, `-`, `.`, `e` and `E` belong to a number. */
function endOfNumber(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && isOfNumber(text.charCodeAt(at))) at += 1;
  return at;
}

function isOfNumber(code: number): boolean {
  // Of the characters between `+` and `9`, only `,` and `/` are not part of a number, and `/` occurs nowhere in JSON.
  return (code <= NINE && code > 0x2a && code !== COMMA) || (code | 0x20) === SMALL_E;
}

function isExactBetween(text: string, start: number, end: number): boolean {
  const exponent = endOfMantissa(text, start, end);
  const digits = exponent - start;
  if (digits <= CERTAIN_DIGITS && end - exponent <= CERTAIN_EXPONENT) return true;
  if (exponent === end && digits <= CERTAIN_FRACTION && isBelowOne(text, start)) return true;
  return isExact(text.slice(start, end));
}

/** What most long numbers are. */
function isBelowOne(text: string, start: number): boolean {
  return text.charCodeAt(start) === ZERO && text.charCodeAt(start + 1) === POINT;
}

/**
 * Does a double keep the number, as far as anybody can mean it? Everybody rounds digits after the point (0.1); beyond
 * 2^53, digits before the point would be lost, and nothing may become infinite or zero.
 */
function isExact(token: string): boolean {
  const value = Number(token);
  if (!Number.isFinite(value)) return false;
  if (value === 0) return !/[1-9]/.test(token.replace(/[eE].*$/, ''));
  if (Math.abs(value) <= Number.MAX_SAFE_INTEGER) return true;
  const kept = String(value);
  return kept === token || significantDigits(kept) === significantDigits(token);
}

/** 1.50e3, 1500 and 1500.0 have 15. If two numbers differ only by rounding, they show whether it was rounded. */
function significantDigits(number: string): string {
  const mantissa = number.slice(0, endOfMantissa(number, 0, number.length));
  const digits = mantissa.includes('.') ? mantissa.replace('.', '') : mantissa;
  let start = 0;
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === ZERO) end -= 1;
  while (start < end && digits.charCodeAt(start) === ZERO) start += 1;
  return digits.slice(start, end);
}

/** @returns the position where the exponent begins, or would begin. */
function endOfMantissa(text: string, start: number, end: number): number {
  let at = start;
  while (at < end && (text.charCodeAt(at) | 0x20) !== SMALL_E) at += 1;
  return at;
}
