/** The log: JSON lines on standard output, readable lines in development. It never contains bodies or tokens. */
import pino, { type Logger } from 'pino';
import { isColorSupported, prettyFactory } from 'pino-pretty';
import { systemClock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import type { SelfCheck } from '../internals';

export type { Logger } from 'pino';

/**
 * Query parameters and path segments that carry a token. A JWT has three base64url parts, the first begins with `eyJ`.
 * Such a word is matched as a whole even when no dot follows: otherwise each further `eyJ` in a long word would be
 * scanned to its end again.
 */
const TOKENS_IN_TEXT = /eyJ[\w-]*(?:\.[\w-]*){0,2}|((?:^|[?&])token=)[^&#\s]*/gi;

/** Removes every token from a URL or a sentence. */
export function redact(text: string): string {
  return text.replace(TOKENS_IN_TEXT, (match, parameter: string | undefined) => {
    const isToken = parameter !== undefined || match.includes('.');
    return isToken ? `${parameter ?? ''}[redacted]` : match;
  });
}

/** An error as it is logged: its message may quote a client, so tokens are removed. */
function describeError(thrown: unknown): Record<string, unknown> {
  if (!(thrown instanceof Error)) return { type: typeof thrown, message: 'something that is no Error was thrown' };
  const { type, message, stack, code } = pino.stdSerializers.err(thrown);
  return { type, message: redact(message), stack: redact(stack ?? ''), ...(code === undefined ? {} : { code }) };
}

/** Bytes that may wait for a reader of standard output; lines beyond are dropped. */
const MAX_WAITING_BYTES = 4 * 2 ** 20;
/** How long the end of the process, or a fatal error, waits for unwritten lines. */
const FLUSH_TIMEOUT_MS = 1_000;

type Output = ReturnType<typeof pino.destination>;

/**
 * Standard output. Neither a reader that does not read nor a full disk holds up the service or, for long, its end.
 * Lines that cannot be written are lost.
 */
function openOutput(): Output {
  let deadline = Number.POSITIVE_INFINITY;
  const isLate = () => systemClock.steady() > deadline;
  // Reading the descriptor makes Node set a pipe non-blocking: a full one refuses instead of blocking.
  const dest = process.stdout.fd;
  const output = pino.destination({ dest, sync: false, maxLength: MAX_WAITING_BYTES, retryEAGAIN: () => !isLate() });
  // There is nowhere to report it: the next line tries again.
  output.on('error', () => undefined);
  endWith(output, isLate);
  const flush = output.flushSync.bind(output);
  output.flushSync = () => {
    deadline = systemClock.steady() + FLUSH_TIMEOUT_MS;
    try {
      flush();
    } catch {
      // Waiting lines are lost, and there is nowhere to report it.
    } finally {
      deadline = Number.POSITIVE_INFINITY;
    }
  };
  return output;
}

/**
 * sonic-boom 4 asks `retryEAGAIN` about pipes only: it repeats a write that fails for any other reason for ever, and
 * blocks the whole process. It looks up its descriptor for each attempt.
 */
function endWith(output: Output, isLate: () => boolean): void {
  let descriptor = (output as unknown as { readonly fd: number }).fd;
  let isLookedUp = false;
  Object.defineProperty(output, 'fd', {
    get: () => {
      isLookedUp = true;
      if (isLate()) throw Object.assign(new Error('the log cannot be written'), { code: 'EAGAIN' });
      return descriptor;
    },
    set: (fd: number) => {
      descriptor = fd;
    },
  });
  output.flushSync();
  isDescriptorLookedUp &&= isLookedUp;
}

/** Of every output that was opened so far. */
let isDescriptorLookedUp = true;

export const LOG_CHECK: SelfCheck = {
  names: ['sonic-boom: fd'],
  run: () => (isDescriptorLookedUp ? ['sonic-boom: fd'] : []),
};

/** The same as lines for people. Made here rather than by a thread, whose end the service would have to wait for. */
function readable(output: Output): pino.DestinationStream & Pick<Output, 'flushSync'> {
  const toLine = prettyFactory({ colorize: isColorSupported });
  return {
    write: (line) => {
      output.write(toLine(line));
    },
    flushSync: () => output.flushSync(),
  };
}

export function createLogger(config: Pick<Config, 'LOG_LEVEL' | 'NODE_ENV' | 'NODE_ID'>): Logger {
  const options = {
    level: config.LOG_LEVEL,
    ...(config.NODE_ID === undefined ? {} : { base: { pid: process.pid, node: config.NODE_ID } }),
    serializers: { err: describeError },
    redact: { paths: ['req.headers.authorization', 'req.headers.cookie'], censor: '[redacted]' },
  };
  const output = openOutput();
  return pino(options, config.NODE_ENV === 'development' ? readable(output) : output);
}
