/** The log: JSON lines on standard output, readable lines in development. Bodies and tokens never get here. */
import pino, { type Logger } from 'pino';
import type { Config } from '../utils/config';

export type { Logger } from 'pino';

/**
 * Query parameters and path segments that carry a token. A JWT has three base64url parts, the first begins with `eyJ`.
 * What begins so is taken as a whole, also where no dot follows: otherwise each further `eyJ` of a long word would be read
 * to its end again.
 */
const TOKENS_IN_TEXT = /eyJ[\w-]*(?:\.[\w-]*){0,2}|((?:^|[?&])token=)[^&#\s]*/gi;

/** Takes every token out of a URL or a sentence. */
export function redact(text: string): string {
  return text.replace(TOKENS_IN_TEXT, (match, parameter: string | undefined) => {
    const isToken = parameter !== undefined || match.includes('.');
    return isToken ? `${parameter ?? ''}[redacted]` : match;
  });
}

/** An error as it is logged: its words may quote what a client sent, so tokens are taken out. */
function describeError(thrown: unknown): Record<string, unknown> {
  if (!(thrown instanceof Error)) return { type: typeof thrown, message: 'something that is no Error was thrown' };
  const { type, message, stack, code } = pino.stdSerializers.err(thrown);
  return { type, message: redact(message), stack: redact(stack ?? ''), ...(code === undefined ? {} : { code }) };
}

export function createLogger(config: Pick<Config, 'LOG_LEVEL' | 'NODE_ENV' | 'NODE_ID'>): Logger {
  return pino({
    level: config.LOG_LEVEL,
    ...(config.NODE_ID === undefined ? {} : { base: { pid: process.pid, node: config.NODE_ID } }),
    serializers: { err: describeError },
    redact: { paths: ['req.headers.authorization', 'req.headers.cookie'], censor: '[redacted]' },
    ...(config.NODE_ENV === 'development' ? { transport: { target: 'pino-pretty' } } : {}),
  });
}
