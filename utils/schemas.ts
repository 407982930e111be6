/**
 * Shapes of what clients send, over HTTP and over sockets: one schema each, so that a field is refused
 * with the same words through every door. Unknown fields are ignored; nothing is coerced.
 */
import { z } from 'zod';
import { AppError, type FieldError } from './errors';
import { isReservedEvent } from './protocol';

const MAX_NAME_LENGTH = 128;
const MAX_EVENT_LENGTH = 64;
const MAX_TEXT_LENGTH = 10_000;
const MAX_ID_LENGTH = 64;
const MAX_RECIPIENTS = 10_000;
/** Deeper values cost recursion in every encoder on their way; no notification needs them. */
const MAX_DATA_DEPTH = 64;

/** Options of design section 4 that this version does not implement: refused, never ignored. */
const LATER_OPTIONS = ['ttl', 'expiresAt', 'collapseKey', 'sendAt', 'delay', 'exceptUserId'] as const;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL_CHARACTERS = /[\u0000-\u001f\u007f-\u009f]/;

function isPlainText(text: string): boolean {
  return text.isWellFormed() && !CONTROL_CHARACTERS.test(text);
}

const PLAIN_TEXT = 'must not contain control characters or lone surrogates';

function shortText(maxLength: number) {
  return z
    .string()
    .min(1, 'must not be empty')
    .max(maxLength, `must have at most ${maxLength} characters`)
    .refine(isPlainText, PLAIN_TEXT);
}

/** The `sub` of a token: 1 to 128 characters without control characters. */
export const userIdSchema = shortText(MAX_NAME_LENGTH);

/** The name of a device: as a user id. */
export const deviceSchema = shortText(MAX_NAME_LENGTH);

const typeSchema = shortText(MAX_NAME_LENGTH);
const idSchema = shortText(MAX_ID_LENGTH);
const eventSchema = shortText(MAX_EVENT_LENGTH).refine((name) => !isReservedEvent(name), 'is a reserved event name');

/** Any JSON value; `undefined`, binary and deep nesting are refused. */
const dataSchema = z.unknown().superRefine((value, context) => {
  const fault = findJsonFault(value, MAX_DATA_DEPTH);
  if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
});

function findJsonFault(value: unknown, depthLeft: number): string | undefined {
  if (value === undefined) return 'is required';
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : 'must not contain NaN or Infinity';
  if (typeof value !== 'object') return 'must be a JSON value';
  if (depthLeft === 0) return `must not be nested deeper than ${MAX_DATA_DEPTH} levels`;
  if (!Array.isArray(value) && !isPlainObject(value)) return 'must be JSON, not binary';
  for (const item of Array.isArray(value) ? value : Object.values(value)) {
    const fault = findJsonFault(item, depthLeft - 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

const options = {
  id: idSchema.optional(),
  event: eventSchema.optional(),
  persist: z.boolean().optional(),
};

const content = { type: typeSchema, data: dataSchema, ...options };

export const messageToUserSchema = z.object({ userId: userIdSchema, ...content });
export const messageToUsersSchema = z.object({
  userIds: z
    .array(userIdSchema)
    .min(1, 'must not be empty')
    .max(MAX_RECIPIENTS, `must have at most ${MAX_RECIPIENTS} entries`),
  ...content,
});
export const broadcastSchema = z.object(content);
export const notificationSchema = z.object({
  userId: userIdSchema,
  title: z.string().min(1, 'must not be empty').max(MAX_TEXT_LENGTH),
  body: z.string().max(MAX_TEXT_LENGTH),
  data: dataSchema.refine(isRecord, 'must be an object').optional(),
  ...options,
});
export const directMessageSchema = z.object({ to: userIdSchema, ...content });

export const ackSchema = z.object({ topic: z.string().min(1), seq: z.int().min(0) });
export const historySchema = z.object({
  topic: z
    .string()
    .min(1)
    .max(MAX_NAME_LENGTH + 1),
  after: z.int().min(0).optional(),
  before: z.int().min(1).optional(),
  limit: z.int().min(1).max(200).optional(),
});

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Checks an input against a schema.
 * @throws AppError `bad_request` with one entry for each refused field.
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  if (!isRecord(input)) throw new AppError('bad_request', 'Expected a JSON object.', { errors: wholeInput });
  const result = schema.safeParse(input);
  if (!result.success) throw refusal(result.error.issues);
  return result.data;
}

const wholeInput: readonly FieldError[] = [{ path: '', message: 'expected a JSON object' }];

function refusal(issues: readonly z.core.$ZodIssue[]): AppError {
  const errors = issues.map(({ path, message }) => ({ path: path.join('.'), message }));
  const detail = errors.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return new AppError('bad_request', detail, { errors });
}

/**
 * Like parseInput, for input that carries send options: those of later versions are refused by name.
 * @throws AppError `bad_request` or `not_supported`.
 */
export function parseSend<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const parsed = parseInput(schema, input);
  const later = LATER_OPTIONS.filter((name) => isRecord(input) && Object.hasOwn(input, name));
  if (later.length > 0) throw notSupported(later);
  return parsed;
}

/** A refusal of options by name. */
export function notSupported(names: readonly string[]): AppError {
  const errors = names.map((path) => ({ path, message: 'is not supported by this version' }));
  return new AppError('not_supported', `Not supported by this version: ${names.join(', ')}.`, { errors });
}

/** Query parameters of lists. */
export const listQuerySchema = z.object({
  limit: z
    .string()
    .regex(/^\d{1,4}$/, 'must be a whole number from 1 to 1000')
    .transform(Number)
    .refine((value) => value >= 1 && value <= 1000, 'must be a whole number from 1 to 1000')
    .optional(),
  cursor: z
    .string()
    .max(1024)
    .regex(/^[\w-]+$/, 'must be a cursor that an earlier answer gave')
    .optional(),
});
