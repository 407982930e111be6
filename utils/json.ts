/** JSON as clients send it, whose numbers are kept or refused: a double would round some of them in silence. */
import { AppError } from './errors';

/** What a double cannot hold has at least 16 digits before the point, an exponent, or hundreds of digits behind it. */
const NUMBER = String.raw`-?(?:\d{16}|\d+(?:\.\d+)?[eE]|\d+\.\d{300})`;
/** Looks for such a number where a value may stand: cheap, and wrong now and then about the inside of a text. */
const SUSPICIOUS = new RegExp(String.raw`(?:^|[:[,\s])${NUMBER}`);
const MAX_PATH_LENGTH = 64;
const MESSAGE = 'is a number that cannot be kept exactly: send it as text';

/**
 * Parses a JSON text.
 * @throws SyntaxError when it is none; AppError `bad_request` naming the first number that would be rounded.
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

/** May there be a number in it that would be rounded? Of any text, and cheap; mostly right. */
export function isSuspicious(text: string): boolean {
  return SUSPICIOUS.test(text);
}

export function inexactNumber(path: readonly string[]): AppError {
  const name = path.slice(0, MAX_PATH_LENGTH).join('.');
  return new AppError('bad_request', `${name === '' ? 'The body' : `${name}:`} ${MESSAGE}.`, {
    errors: [{ path: name, message: MESSAGE }],
  });
}

/** @param text valid JSON. @returns the path of the first number that a double cannot hold. */
export function findInexactNumber(text: string): readonly string[] | undefined {
  return isSuspicious(text) ? new NumberSearch(text).run() : undefined;
}

/** Texts, numbers, and what tells where they stand. Literals and white space lie between. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}[\],:]/g;

/** Where a value stands: the place in a list, or the name in an object, as it is written. */
interface Level {
  readonly isList: boolean;
  index: number;
  name: string;
}

class NumberSearch {
  readonly #levels: Level[] = [];
  #isName = false;

  constructor(private readonly text: string) {}

  run(): readonly string[] | undefined {
    for (const [token] of this.text.matchAll(TOKEN)) {
      if (token.startsWith('"')) this.#readText(token);
      else if (/^[\d-]/.test(token)) {
        if (!isExact(token)) return this.#path;
      } else this.#readSign(token);
    }
    return undefined;
  }

  #readText(token: string): void {
    const level = this.#levels.at(-1);
    if (level !== undefined && this.#isName) level.name = token;
  }

  #readSign(sign: string): void {
    const level = this.#levels.at(-1);
    if (sign === '{' || sign === '[') {
      this.#levels.push({ isList: sign === '[', index: 0, name: '""' });
      this.#isName = sign === '{';
    } else if (sign === '}' || sign === ']') {
      this.#levels.pop();
      this.#isName = false;
    } else {
      this.#isName = sign === ',' && level?.isList === false;
      if (sign === ',' && level !== undefined) level.index += 1;
    }
  }

  get #path(): readonly string[] {
    return this.#levels
      .slice(0, MAX_PATH_LENGTH)
      .map(({ isList, index, name }) => (isList ? String(index) : (JSON.parse(name) as string)));
  }
}

/**
 * Is the number kept by a double, as far as anybody can mean it? Digits behind the point are rounded by everybody (0.1);
 * beyond 2^53 digits before the point would be lost, and nothing may become infinite or zero.
 */
function isExact(token: string): boolean {
  const value = Number(token);
  if (!Number.isFinite(value)) return false;
  if (value === 0) return !/[1-9]/.test(token.replace(/[eE].*$/, ''));
  return Math.abs(value) <= Number.MAX_SAFE_INTEGER || canonical(token) === canonical(String(value));
}

/** Significant digits and exponent: 1.50e3, 1500 and 1500.0 are all 15e2. */
function canonical(token: string): string {
  const [, whole = '', fraction = '', exponent = '0'] = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const significant = trimZeros(digits);
  return `${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}

function trimZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits[end - 1] === '0') end -= 1;
  return digits.slice(0, end);
}
