/**
 * Shapes of what clients send, over HTTP and over sockets: one schema each, so that a field is refused
 * with the same words through every door. Unknown fields are ignored; nothing is coerced.
 */
import { z } from 'zod';
import { AppError, badField, type FieldError } from './errors';
import { isReservedEvent } from './protocol';
import { isNamedTopic } from './topic-names';

const MAX_NAME_LENGTH = 128;
const MAX_EVENT_LENGTH = 64;
const MAX_TEXT_LENGTH = 10_000;
const MAX_ID_LENGTH = 64;
const MAX_RECIPIENTS = 10_000;
const MAX_HISTORY_LIMIT = 200;
const STANDARD_HISTORY_LIMIT = 50;
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

/** The same for a value that becomes a field of `data`: one level less. */
const nestedSchema = z.unknown().superRefine((value, context) => {
  const fault = findJsonFault(value, MAX_DATA_DEPTH - 1);
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

const recipients = z
  .array(userIdSchema)
  .min(1, 'must not be empty')
  .max(MAX_RECIPIENTS, `must have at most ${MAX_RECIPIENTS} entries`);

export const messageToUserSchema = z.object({ userId: userIdSchema, ...content });
export const messageToUsersSchema = z.object({
  userIds: recipients,
  ...content,
});
/** What a message carries, whoever gets it. */
export const contentSchema = z.object(content);
export const notificationSchema = z.object({
  userId: userIdSchema,
  title: z.string().min(1, 'must not be empty').max(MAX_TEXT_LENGTH),
  body: z.string().max(MAX_TEXT_LENGTH),
  data: dataSchema.refine(isRecord, 'must be an object').optional(),
  ...options,
});
export const directMessageSchema = z.object({ to: userIdSchema, ...content });

const gatewayContent = { event: eventSchema, message: dataSchema };
export const gatewaySendSchema = z.object({ userId: userIdSchema, ...gatewayContent });
export const gatewaySendManySchema = z.object({ userIds: recipients, ...gatewayContent });

export const topicNameSchema = z
  .string()
  .refine(isNamedTopic, 'must be 1 to 64 letters, digits, _ . : - and begin with a letter or digit');

export const createTopicSchema = z.object({ name: topicNameSchema, isPrivate: z.boolean().optional() });
export const topicSchema = z.object({ name: topicNameSchema });
export const inviteSchema = z.object({ name: topicNameSchema, userId: userIdSchema });
export const addMemberSchema = z.object({ userId: userIdSchema.optional() });
export const typingSchema = z.object({
  topic: z
    .string()
    .min(1)
    .max(MAX_NAME_LENGTH + 1),
  typing: z.boolean(),
});

export const echoMessageSchema = z.object({ message: dataSchema });
export const echoContentSchema = z.object({ content: dataSchema });

export const ackSchema = z.object({ topic: z.string().min(1), seq: z.int().min(0) });
export const historySchema = z.object({
  topic: z
    .string()
    .min(1)
    .max(MAX_NAME_LENGTH + 1),
  after: z.int().min(0).optional(),
  before: z.int().min(1).optional(),
  limit: z.int().min(1).max(MAX_HISTORY_LIMIT).default(STANDARD_HISTORY_LIMIT),
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

/**
 * Checks one value that stands outside a body.
 * @throws AppError `bad_request` naming `path`.
 */
export function parseField<Schema extends z.ZodType>(path: string, schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw badField(path, result.error.issues[0]?.message ?? 'is not valid');
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

/**
 * Bounds what one message carries.
 * @throws AppError `message_too_large` naming `path`.
 */
export function assertMessageSize(path: string, data: unknown, maxBytes: number): void {
  const bytes = Buffer.byteLength(JSON.stringify(data));
  if (bytes <= maxBytes) return;
  const message = `has ${bytes} bytes as JSON, at most ${maxBytes} are allowed`;
  throw new AppError('message_too_large', `${path}: ${message}`, { errors: [{ path, message }] });
}

/** A refusal of options by name. */
export function notSupported(names: readonly string[]): AppError {
  const errors = names.map((path) => ({ path, message: 'is not supported by this version' }));
  return new AppError('not_supported', `Not supported by this version: ${names.join(', ')}.`, { errors });
}

/** Frames of the plain endpoint, in the words of the ancestors. */
const targetSchema = z
  .string()
  .min(1, 'must not be empty')
  .max(MAX_NAME_LENGTH + 1, 'is too long');
export const plainTopicSchema = z.object({ topic_name: topicNameSchema });
export const plainCreateSchema = z.object({ topic_name: topicNameSchema, is_private: z.boolean().optional() });
export const plainInviteSchema = z.object({ topic_name: topicNameSchema, username: userIdSchema });
export const plainMessageSchema = z
  .object({ topic_name: targetSchema, content: nestedSchema.optional(), data: dataSchema.optional() })
  .refine(({ content: text, data }) => text !== undefined || data !== undefined, {
    path: ['content'],
    message: 'is required',
  });
export const plainPresenceSchema = z.object({ on: z.boolean().optional() });
export const refreshSchema = z.object({ token: z.string().min(1, 'must not be empty') });

/** A whole number in a query: decimal digits only, nothing is coerced. */
function queryInteger(minimum: number, maximum: number) {
  const form = `must be a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, form)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, form);
}

/** Query parameters of a topic's history. */
export const historyQuerySchema = z.object({
  after: queryInteger(0, Number.MAX_SAFE_INTEGER).optional(),
  before: queryInteger(1, Number.MAX_SAFE_INTEGER).optional(),
  limit: queryInteger(1, MAX_HISTORY_LIMIT).default(STANDARD_HISTORY_LIMIT),
});

/** Query parameters of lists. */
export const listQuerySchema = z.object({
  limit: queryInteger(1, 1000).optional(),
  cursor: z
    .string()
    .max(1024)
    .regex(/^[\w-]+$/, 'must be a cursor that an earlier answer gave')
    .optional(),
});
