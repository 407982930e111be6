/** Whether an error is worth repeating is a column of the catalogue: nothing else decides it. */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { AppError, ERROR_KINDS, type ErrorCode, kindOf, retryHeader, toProblem } from '../../utils/errors';
import { sourceFiles } from '../support/sources';

const ROOT = join(__dirname, '../..');
const CODES = Object.keys(ERROR_KINDS) as ErrorCode[];
/** Where closings are made, which have a time of their own; the schemas of answers; the lists of headers that pages may read. */
const OTHERS =
  /^(services\/sockets\/(user-)?sessions|services\/websocket|utils\/(answers\/common|frames|protocol)|features\/(index|specifications\/headers))\.ts$/;

it.each(CODES)('%s is worth repeating when its column says so, whoever knows a better time', (code) => {
  const seconds = kindOf(code).retryAfterSeconds;
  for (const [options, expected] of [
    [{}, seconds],
    [{ retryAfterSeconds: 42 }, seconds && 42],
  ] as const) {
    const error = new AppError(code, 'detail', options);
    const isRepeated = expected !== undefined;
    expect(toProblem(error, { origin: '' }).retryInMs).toBe(isRepeated ? expected * 1_000 : undefined);
    expect(retryHeader(error)).toEqual(isRepeated ? { 'Retry-After': String(expected) } : {});
  }
});

it('no other file says when to repeat', () => {
  const sources = sourceFiles(['application.ts', 'features', 'handlers', 'services', 'utils']);
  const deciding = sources.filter((path) => {
    const code = readFileSync(path, 'utf8').replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '');
    return /['"`]Retry-After['"`:]|retryInMs/.test(code);
  });
  const names = deciding.map((path) => relative(ROOT, path)).filter((path) => !OTHERS.test(path));
  // The limit of requests knows when its minute is over.
  expect(names.sort()).toEqual(['features/guards/limit-requests.ts', 'utils/errors.ts']);
});
