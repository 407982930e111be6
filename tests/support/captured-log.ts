/** The logger of the service itself, at its most verbose level, writing into memory. */
import pino from 'pino';
import { createLogger, type Logger } from '../../services/observability/logger';

export interface CapturedLog {
  readonly logger: Logger;
  /** One JSON text for each entry so far. */
  readonly lines: readonly string[];
  /** The entries so far that are errors or worse. */
  errors(): Record<string, unknown>[];
  /** The entries so far, which are then forgotten. */
  take(): string[];
}

const ERROR_LEVEL = 50;

export function captureLog(): CapturedLog {
  const lines: string[] = [];
  const logger = createLogger({ LOG_LEVEL: 'trace', NODE_ENV: 'test', NODE_ID: undefined });
  Object.defineProperty(logger, pino.symbols.streamSym, { value: { write: (line: string) => lines.push(line) } });
  return {
    logger,
    lines,
    errors: () =>
      lines
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ level }) => typeof level === 'number' && level >= ERROR_LEVEL),
    take: () => lines.splice(0),
  };
}
