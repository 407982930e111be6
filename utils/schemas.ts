/**
 * Shapes of what clients send, over HTTP and over sockets: one schema each, so that every door refuses a field with the
 * same words. Unknown fields are ignored; nothing is coerced.
 */
import { z } from 'zod';
import { AUDIT_ACTIONS } from './audit';
import { type AppError, badField, refuseField, refuseFields } from './errors';
import { inputSentences } from './input-sentences';
import { isReservedEvent, REQUESTED_STATES, RESERVED_EVENTS } from './protocol';
import { DOT_SEGMENTS, isDotSegment, NAMED_TOPIC, ownerOfPersonalTopic } from './topic-names';

const MAX_NAME_LENGTH = 128;
const MAX_EVENT_LENGTH = 64;
const MAX_TEXT_LENGTH = 10_000;
const MAX_ID_LENGTH = 64;
const MAX_KEY_LENGTH = 255;
const MAX_RECIPIENTS = 10_000;
const MAX_HISTORY_LIMIT = 200;
const STANDARD_HISTORY_LIMIT = 50;
/** Deeper values cost recursion in every encoder on their path; no notification needs them. */
const MAX_DATA_DEPTH = 64;

/** How a schema is documented if its own form concerns the encoding, such as a number in a query. */
export const shownAs = z.registry<Readonly<Record<string, unknown>>>();

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const WITHOUT_CONTROL_CHARACTERS = /^[^\u0000-\u001f\u007f-\u009f]*$/;

function isPlainText(text: string): boolean {
  return text.isWellFormed() && WITHOUT_CONTROL_CHARACTERS.test(text);
}

const PLAIN_TEXT = 'must not contain control characters or unpaired surrogates';

const NO_DOT_SEGMENT = 'must not be . or ..: no URL can carry them';

function shortText(maxLength: number) {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .refine(isPlainText, PLAIN_TEXT)
    .meta({ pattern: WITHOUT_CONTROL_CHARACTERS.source });
}

/** A name that may be part of a path. */
function pathText(maxLength: number) {
  return shortText(maxLength)
    .refine((text) => !isDotSegment(text), NO_DOT_SEGMENT)
    .meta({ pattern: WITHOUT_CONTROL_CHARACTERS.source, not: { enum: [...DOT_SEGMENTS] } });
}

/** The `sub` of a token: 1 to 128 characters without control characters, but not `.` or `..`. */
export const userIdSchema = pathText(MAX_NAME_LENGTH);

/** The name of a device: like a user id. */
export const deviceSchema = pathText(MAX_NAME_LENGTH);

const typeSchema = shortText(MAX_NAME_LENGTH).meta({
  description: 'The kind of message; the sender chooses the name.',
});
const idSchema = pathText(MAX_ID_LENGTH);
const eventSchema = shortText(MAX_EVENT_LENGTH)
  .refine((name) => !isReservedEvent(name), 'is reserved for the service: choose another name')
  .meta({
    id: 'EventName',
    not: { enum: [...RESERVED_EVENTS] },
    description: 'Emit under this name instead of `message`.',
  });

/** Any JSON value; `undefined`, binary and deep nesting are refused. */
const dataSchema = z
  .unknown()
  .superRefine((value, context) => {
    const fault = findJsonFault(value, MAX_DATA_DEPTH);
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
  })
  .meta({ description: `Any JSON value, at most ${MAX_DATA_DEPTH} levels deep.` });

/** The same for a value that becomes a field of `data`: one level less. */
const nestedSchema = z
  .unknown()
  .superRefine((value, context) => {
    const fault = findJsonFault(value, MAX_DATA_DEPTH - 1);
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
  })
  .meta({ description: `Any JSON value, at most ${MAX_DATA_DEPTH - 1} levels deep.` });

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

/** A year: longer than any sensible retention, and far from where dates end. */
export const MAX_SCHEDULE_AHEAD_SECONDS = 31_536_000;

function seconds(minimum: number) {
  const form = `must be a whole number of seconds from ${minimum} to ${MAX_SCHEDULE_AHEAD_SECONDS}`;
  return z.int(form).min(minimum, form).max(MAX_SCHEDULE_AHEAD_SECONDS, form);
}

const timeSchema = z.iso.datetime({ offset: true, error: 'must be a time like 2030-01-31T12:00:00Z' });

const options = {
  id: idSchema
    .meta({ description: "The sender's own id: repeating the send stores nothing and returns the first answer." })
    .optional(),
  event: eventSchema.optional(),
  persist: z
    .boolean()
    .meta({ description: '`false`: a live message, only for connected users; not stored, without `seq`.' })
    .optional(),
  ttl: seconds(1).meta({ description: 'Seconds from the time of sending after which the message expires.' }).optional(),
  expiresAt: timeSchema
    .meta({ description: 'The same as a time: at most a year after the time of sending.' })
    .optional(),
  collapseKey: shortText(MAX_NAME_LENGTH)
    .meta({ description: 'Replaces the earlier message with this key, unless it was read.' })
    .optional(),
  sendAt: timeSchema
    .meta({ description: 'When to send: at most a year ahead, not more than 60 seconds ago.' })
    .optional(),
  delay: seconds(0).meta({ description: 'The same in seconds from now.' }).optional(),
  exceptUserId: userIdSchema.meta({ description: 'This user does not receive it, now or later.' }).optional(),
};

type Options = z.output<z.ZodObject<typeof options>>;
type OptionName = keyof Options;

/** Options that say the same in two ways, or that only a stored message can have. */
const EXCLUSIVE: readonly (readonly [OptionName, OptionName])[] = [
  ['ttl', 'expiresAt'],
  ['delay', 'sendAt'],
];
const STORED_ONLY: readonly OptionName[] = ['ttl', 'expiresAt', 'collapseKey', 'sendAt', 'delay'];

/** The same rules as `withOptions` checks, as JSON Schema. */
const OPTION_RULES = [
  ...EXCLUSIVE.map((names) => ({ not: { required: [...names] } })),
  {
    not: {
      properties: { persist: { const: false } },
      required: ['persist'],
      anyOf: STORED_ONLY.map((name) => ({ required: [name] })),
    },
  },
];

/** Adds the send options to a shape, and checks their combination. */
function withOptions<Shape extends z.ZodRawShape>(shape: Shape) {
  return z
    .object({ ...shape, ...options })
    .superRefine((value, context) => {
      const given = value as Options;
      for (const [one, other] of EXCLUSIVE) {
        if (given[one] === undefined || given[other] === undefined) continue;
        context.addIssue({ code: 'custom', path: [one], message: `cannot be combined with ${other}` });
      }
      if (given.persist !== false) return;
      for (const name of STORED_ONLY.filter((option) => given[option] !== undefined)) {
        context.addIssue({ code: 'custom', path: [name], message: 'cannot be combined with persist: false' });
      }
    })
    .meta({ allOf: OPTION_RULES });
}

const content = { type: typeSchema, data: dataSchema };

const recipients = z.array(userIdSchema).min(1).max(MAX_RECIPIENTS);

export const messageToUserSchema = withOptions({ userId: userIdSchema, ...content });
export const messageToUsersSchema = withOptions({ userIds: recipients, ...content });
/** What a message contains, whoever receives it. */
export const contentSchema = withOptions(content);
export const notificationSchema = withOptions({
  userId: userIdSchema,
  title: z.string().min(1).max(MAX_TEXT_LENGTH),
  body: z.string().max(MAX_TEXT_LENGTH),
  data: dataSchema.refine(isRecord, 'must be an object').meta({ type: 'object' }).optional(),
});
export const directMessageSchema = withOptions({ to: userIdSchema, ...content });

const gatewayContent = { event: eventSchema, message: dataSchema };
export const gatewaySendSchema = z.object({ userId: userIdSchema, ...gatewayContent });
export const gatewaySendManySchema = z.object({ userIds: recipients, ...gatewayContent });

/** Items of one batch. More are answered 413 `batch_too_large`, not as a refused field. */
export const MAX_BATCH_ITEMS = 1_000;
/** Items of a batch are checked one by one: each fails alone. */
export const batchSchema = z.object({ messages: z.array(z.unknown()).min(1) });
const TARGETS = ['userId', 'topic', 'broadcast'] as const;
export const batchItemSchema = z
  .object({ userId: z.unknown().optional(), topic: z.unknown().optional(), broadcast: z.literal(true).optional() })
  .refine((item) => TARGETS.filter((name) => item[name] !== undefined).length === 1, {
    path: ['userId'],
    message: 'is required, unless topic or broadcast: true is given (exactly one of them)',
  });

export const updateMessageSchema = z.object({ data: dataSchema });

export const topicNameSchema = z
  .string()
  .regex(NAMED_TOPIC, 'must have 1 to 64 letters, digits or _ . : - and begin with a letter or digit');

export const createTopicSchema = z.object({ name: topicNameSchema, isPrivate: z.boolean().optional() });
export const topicSchema = z.object({ name: topicNameSchema });
export const inviteSchema = z.object({ name: topicNameSchema, userId: userIdSchema });
const MAX_INVITED = 1_000;
export const addMemberSchema = z
  .object({
    userId: userIdSchema.optional(),
    userIds: z.array(userIdSchema).min(1).max(MAX_INVITED).optional(),
  })
  .refine(({ userId, userIds }) => userId === undefined || userIds === undefined, {
    path: ['userIds'],
    message: 'cannot be combined with userId',
  })
  .meta({ not: { required: ['userId', 'userIds'] } });

/** A topic as clients name it: `@<userId>`, `*`, or a named one. */
export const anyTopicSchema = z
  .string()
  .min(1)
  .max(MAX_NAME_LENGTH + 1)
  .refine((topic) => !isDotSegment(ownerOfPersonalTopic(topic) ?? topic), NO_DOT_SEGMENT)
  .meta({ not: { enum: DOT_SEGMENTS.flatMap((segment) => [segment, `@${segment}`]) } });

export const typingSchema = z.object({ topic: anyTopicSchema, typing: z.boolean() });

export const echoMessageSchema = z.object({ message: dataSchema });
export const echoContentSchema = z.object({ content: dataSchema });

const MAX_CURSOR_LENGTH = 1_024;
const cursorSchema = z
  .string()
  .max(MAX_CURSOR_LENGTH)
  .regex(/^[\w-]+$/, 'must be the nextCursor of an earlier answer');

export const ackSchema = z.object({ topic: anyTopicSchema, seq: z.int().min(0) });
export const historySchema = z.object({
  topic: anyTopicSchema,
  after: z.int().min(0).optional(),
  before: z.int().min(1).optional(),
  limit: z.int().min(1).max(MAX_HISTORY_LIMIT).default(STANDARD_HISTORY_LIMIT),
  cursor: cursorSchema.optional(),
});

const MAX_STATE_IDS = 1_000;
const stateSchema = z.enum(REQUESTED_STATES);
const SELECTORS = ['ids', 'topic', 'all'] as const;

/** A change of state for one message, whose id is given elsewhere. */
export const oneStateSchema = z.object({ state: stateSchema });
export const changeStatesSchema = z
  .object({
    state: stateSchema,
    ids: z.array(idSchema).min(1).max(MAX_STATE_IDS).optional(),
    topic: anyTopicSchema.optional(),
    upTo: z.int().min(1).optional(),
    all: z.literal(true).optional(),
  })
  .refine((change) => SELECTORS.filter((name) => change[name] !== undefined).length === 1, {
    path: ['ids'],
    message: 'is required, unless topic or all is given (exactly one of them)',
  })
  .refine(({ topic, upTo }) => upTo === undefined || topic !== undefined, {
    path: ['upTo'],
    message: 'needs topic beside it',
  })
  .meta({ oneOf: SELECTORS.map((name) => ({ required: [name] })), dependentRequired: { upTo: ['topic'] } });

export const messageIdSchema = idSchema;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Checks an input against a schema.
 * @throws AppError `bad_request` with one entry for each refused field.
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  if (!isRecord(input)) throw badField('', 'must be a JSON object');
  const result = schema.safeParse(input, inputSentences);
  if (!result.success) throw refusal(result.error.issues);
  return result.data;
}

/**
 * Checks one value outside a body.
 * @throws AppError `bad_request` naming `path`.
 */
export function parseField<Schema extends z.ZodType>(path: string, schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value, inputSentences);
  if (result.success) return result.data;
  throw badField(path, result.error.issues[0]?.message ?? 'is not valid');
}

function refusal(issues: readonly z.core.$ZodIssue[]): AppError {
  return refuseFields(issues.map(({ path, message }) => ({ path: path.join('.'), message })));
}

/**
 * Limits the size of one message.
 * @throws AppError `message_too_large` naming `path`.
 */
export function assertMessageSize(path: string, data: unknown, maxBytes: number): void {
  const bytes = Buffer.byteLength(JSON.stringify(data));
  if (bytes <= maxBytes) return;
  throw refuseField(
    'message_too_large',
    path,
    `has ${bytes} bytes as JSON, but at most ${maxBytes} are allowed (MAX_MESSAGE_BYTES)`,
  );
}

/** Frames of the plain endpoint, in the words of the compatible services. */
export const plainTopicSchema = z.object({ topic_name: topicNameSchema });
export const plainCreateSchema = z.object({ topic_name: topicNameSchema, is_private: z.boolean().optional() });
export const plainInviteSchema = z.object({ topic_name: topicNameSchema, username: userIdSchema });
export const plainMessageSchema = z
  .object({ topic_name: anyTopicSchema, content: nestedSchema.optional(), data: dataSchema.optional() })
  .refine(({ content: text, data }) => text !== undefined || data !== undefined, {
    path: ['content'],
    message: 'is required',
  })
  .meta({ anyOf: [{ required: ['content'] }, { required: ['data'] }] });
export const plainPresenceSchema = z.object({ on: z.boolean().optional() });
export const refreshSchema = z.object({ token: z.string().min(1) });

const REVOCATION_TIME = 'must be Unix seconds, or a time like 2030-01-31T12:00:00Z';
export const revokeSchema = z
  .object({
    issuedBefore: z
      .union([z.number().min(0), timeSchema], REVOCATION_TIME)
      .meta({ description: 'Tokens whose `iat` is before: Unix seconds, or a time; at most 60 seconds ahead.' })
      .optional(),
    jti: shortText(MAX_KEY_LENGTH).meta({ description: 'The one token with this id.' }).optional(),
  })
  .refine(({ issuedBefore, jti }) => issuedBefore === undefined || jti === undefined, {
    path: ['issuedBefore'],
    message: 'cannot be combined with jti',
  })
  .meta({ not: { required: ['issuedBefore', 'jti'] } });

/** A whole number in a query: decimal digits only, nothing is coerced. */
function queryInteger(minimum: number, maximum: number) {
  const form = `must be a whole number from ${minimum} to ${maximum}`;
  const parsed = z
    .string(form)
    .regex(/^\d{1,16}$/, form)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, form);
  return parsed.register(shownAs, { type: 'integer', minimum, maximum });
}

/** Query parameters of a topic's history. */
export const historyQuerySchema = z.object({
  after: queryInteger(0, Number.MAX_SAFE_INTEGER).optional(),
  before: queryInteger(1, Number.MAX_SAFE_INTEGER).optional(),
  limit: queryInteger(1, MAX_HISTORY_LIMIT).default(STANDARD_HISTORY_LIMIT),
  cursor: cursorSchema.optional(),
});

const MAX_LIST_LIMIT = 1_000;
const pageQuery = { limit: queryInteger(1, MAX_LIST_LIMIT).optional(), cursor: cursorSchema.optional() };

/** Query parameters of lists. */
export const listQuerySchema = z.object(pageQuery);

/** The same for lists that existing clients read as a whole. */
export const longListQuerySchema = z.object({ ...pageQuery, limit: queryInteger(1, 10_000).optional() });

/** Fields of a request for a part of a list over a socket. */
export const listSchema = z.object({
  limit: z.int().min(1).max(MAX_LIST_LIMIT).optional(),
  cursor: pageQuery.cursor,
});

const LISTED_STATES = ['unread', 'read', 'archived'] as const;
export const inboxQuerySchema = z.object({
  ...pageQuery,
  limit: queryInteger(1, MAX_HISTORY_LIMIT).default(STANDARD_HISTORY_LIMIT),
  state: z.enum(LISTED_STATES).optional(),
  type: typeSchema.optional(),
  topic: anyTopicSchema.optional(),
});

/** Several senders may have used one id: `from` says whose is meant. */
export const messageQuerySchema = z.object({ from: userIdSchema.optional() });
export const receiptsQuerySchema = z.object({ ...pageQuery, from: userIdSchema.optional() });

/** Query parameters of the audit log. */
export const auditQuerySchema = z.object({
  ...pageQuery,
  actor: userIdSchema.meta({ description: 'The `sub` of the token.' }).optional(),
  action: z.enum(AUDIT_ACTIONS).optional(),
  since: timeSchema.meta({ description: 'Only entries from this time on.' }).optional(),
});

/** The header Idempotency-Key: visible ASCII, as header values are. */
export const idempotencyKeySchema = z
  .string()
  .min(1)
  .max(MAX_KEY_LENGTH, `must have at most ${MAX_KEY_LENGTH} characters`)
  .regex(/^[\u0020-\u007e]+$/, 'must be visible ASCII characters')
  // Blanks at its ends are not part of a header's value.
  .register(shownAs, { pattern: '^[!-~]([ -~]*[!-~])?$' });
