/** Numbers that a double holds, and those that it would round. */
import type { AppError } from '../../utils/errors';
import { findInexactNumber, parseJson } from '../../utils/json';

function refusedPath(text: string): string | undefined {
  try {
    expect(parseJson(text)).toEqual(JSON.parse(text));
    return undefined;
  } catch (error) {
    expect((error as AppError).code).toBe('bad_request');
    return (error as AppError).errors?.[0]?.path;
  }
}

it.each([
  '0',
  '-0',
  '0.0',
  '0e5',
  '1',
  '1.10',
  '1e2',
  '1E+2',
  '0.1',
  '-0.1',
  '3.14159265358979323846264338327950288',
  '1e-7',
  '9007199254740991',
  '9007199254740992',
  '9007199254740994',
  '-9007199254740992',
  '1e22',
  '1.5e300',
  '1e308',
  '1000000000000000000000',
  '4.9e-324',
  '9007199254740992.0',
  '52.37403849999999',
  '0.00000000000000000000001',
])('keeps %s', (number) => {
  expect(refusedPath(number)).toBeUndefined();
  expect(refusedPath(`{"data":[${number}]}`)).toBeUndefined();
});

it.each([
  '9007199254740993',
  '-9007199254740993',
  '12345678901234567890',
  '18446744073709551616',
  '9007199254740993.0',
  '900719925474099.3e1',
  '90071992547409930e-1',
  '123456789012345678.5',
  '1e400',
  '-1e400',
  '1e-400',
  '1e309',
  `0.${'0'.repeat(400)}1`,
  `1${'0'.repeat(400)}`,
  '1.2345678901234567890e30',
])('refuses %s', (number) => {
  expect(refusedPath(number)).toBe('');
  expect(refusedPath(`{"data":[${number}]}`)).toBe('data.0');
});

it.each([
  ['{"a":1,"b":{"c":[0,{"d":1e400}]}}', 'b.c.1.d'],
  ['[[],[],[1,1e400]]', '2.1'],
  ['{"a":{},"b":[],"c":1e400}', 'c'],
  ['{"a\\"b":1e400}', 'a"b'],
  ['{"":1e400}', ''],
  [' { "a" : [ true , null , "x" ,\n1e400 ] } ', 'a.3'],
  ['{"a":"b","c":"d","e":1e400}', 'e'],
  ['{"a":1e400,"a":1}', 'a'],
])('names the position in %s', (text, path) => {
  expect(refusedPath(text)).toBe(path);
});

it.each([
  '"1e400"',
  '{"1e400":1}',
  '{"a":", 1e400"}',
  '["9007199254740993"]',
  '{"a":"\\" :1e400"}',
  '{"a":"\\\\","b":1}',
])('leaves texts alone: %s', (text) => expect(refusedPath(text)).toBeUndefined());

it('throws a SyntaxError for what is no JSON', () => {
  expect(() => parseJson('{"a":1e400')).toThrow(SyntaxError);
});

it('reads deep and long texts in time that grows with their length', () => {
  const deep = `${'['.repeat(100_000)}1e400${']'.repeat(100_000)}`;
  const startedAt = performance.now();
  expect(refusedPath(deep)).toMatch(/^0(\.0){63}$/);
  for (const text of [
    `"${',1'.repeat(500_000)}"`,
    `[${'1.5,'.repeat(250_000)}1]`,
    `"${', 1e1'.repeat(250_000)}"`,
    `[1.${'1'.repeat(1_000_000)}]`,
  ]) {
    expect(refusedPath(text)).toBeUndefined();
  }
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

describe('the cost of searching for numbers that would be rounded', () => {
  const MIB = 1024 * 1024;
  const fill = (part: string) => part.repeat(Math.floor(MIB / part.length));
  const ROUNDS = 5;
  /** The shortest of a few runs, in turns: what each costs, not what else the machine did meanwhile. */
  function costsOf(one: () => void, other: () => void): readonly [number, number] {
    const rounds = Array.from({ length: ROUNDS }, () => [timeOf(one), timeOf(other)] as const);
    return [Math.min(...rounds.map(([time]) => time)), Math.min(...rounds.map(([, time]) => time))];
  }
  function timeOf(work: () => void): number {
    const start = performance.now();
    work();
    return performance.now() - start;
  }

  const nested = `${'['.repeat(MIB / 2)}1e0${']'.repeat(MIB / 2)}`;

  it.each([
    ['small numbers after one with an exponent', `[1e0${fill(',0')}]`],
    ['numbers with exponents', `[1${fill(',1e0')}]`],
    ['large round numbers', `[1${fill(',1e16')}]`],
    ['long round numbers', `[1${fill(',10000000000000000')}]`],
    ['long fractions', `[1${fill(',0.12345678901234567')}]`],
    ['short texts', `[1e0${fill(',""')}]`],
    ['escapes', `["${fill('\\\\')}",1e0]`],
    ['lists in lists', nested],
    ['a refused number at the end', `[0${fill(',0')},1e400]`],
    ['numbers that could be rounded', `[1${fill(',1234567890123456e1')}]`],
  ])('is less than the cost of parsing a text of this size at worst: %s', (_name, text) => {
    const [reading, looking] = costsOf(
      () => JSON.parse(nested),
      () => findInexactNumber(text),
    );

    expect(looking).toBeLessThan(2 * reading);
  });
});
