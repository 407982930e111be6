/**
 * Sends a message to users, to a topic or to everyone.
 *   npm run send -- --to user123 --title Hello --body "Your first notification"
 */

import { readCommandLine, UsageError } from '../utils/command-line';
import { readAccess } from './support/access';
import { COMMON_OPTIONS, readJson, readSeconds } from './support/arguments';
import { post } from './support/requests';
import { type Command, runHere } from './support/terminal';
import { printable } from './support/text';

const USAGE = `Sends a message to users, to a topic or to everyone.

Usage:
  npm run send -- --to USER --title TEXT [--body TEXT]
  npm run send -- --to USER --type TYPE --data JSON

Recipients, one of:
  --to USER              a user; repeat it for several users
  --topic NAME           the members of a topic
  --broadcast            everyone

Message:
  --title, --body TEXT   a notification: type "notification", data {title, body}
  --type TYPE            the type; default: "notification" with --title, otherwise "message"
  --data JSON            the data; with --title, an object with further fields
  --event NAME           emit under this name instead of "message"
  - as body or data reads standard input.

Options:
  --id ID                your own id: repeating the send stores nothing twice
  --idempotency-key KEY  the same for the whole request
  --ttl TIME             expire after 90s, 15m, 12h or 1d; --expires-at TIME gives the time instead
  --delay TIME           send later; --send-at 2030-01-31T12:00:00Z gives the time instead
  --collapse-key KEY     replace the earlier unread message with this key
  --except-user USER     skip this user (topic, broadcast)
  --live-only            deliver to connected users only; store nothing

Service:
  --url URL              default: http://localhost:PORT
  --token TOKEN          default: TIDINGS_TOKEN, otherwise a token made here
  --sub USER             the sender, when the token is made here; default: service
  --timeout TIME         how long to wait for the answer; default: 15s
  --json                 print the answer as JSON
`;

const OPTIONS = {
  ...COMMON_OPTIONS,
  to: { type: 'string', multiple: true },
  topic: { type: 'string' },
  broadcast: { type: 'boolean', default: false },
  title: { type: 'string' },
  body: { type: 'string' },
  type: { type: 'string' },
  data: { type: 'string' },
  event: { type: 'string' },
  id: { type: 'string' },
  'idempotency-key': { type: 'string' },
  ttl: { type: 'string' },
  'expires-at': { type: 'string' },
  delay: { type: 'string' },
  'send-at': { type: 'string' },
  'collapse-key': { type: 'string' },
  'except-user': { type: 'string' },
  'live-only': { type: 'boolean', default: false },
  sub: { type: 'string' },
  timeout: { type: 'string', default: '15s' },
} as const;

type Given = ReturnType<typeof readCommandLine<typeof OPTIONS>>['values'];

const MAX_PATIENCE_SECONDS = 3_600;
/** More on standard input is a mistake: no service takes a message of this size. */
const MAX_INPUT_BYTES = 16 * 1024 * 1024;

export const send: Command = async (args, { env, stdin, stdout, interrupted }) => {
  const given = readCommandLine(args, { options: OPTIONS, usage: USAGE, env }).values;
  if (given.help) {
    stdout.write(USAGE);
    return 0;
  }
  const { path, target } = readTarget(given);
  const access = readAccess(given, env, { sub: 'service', scope: 'send broadcast' });
  const body = { ...target, ...(await readContent(given, stdin)), ...readSendOptions(given) };
  const headers =
    given['idempotency-key'] === undefined ? {} : { 'Idempotency-Key': readKey(given['idempotency-key']) };
  const patienceMs = readPatience(given.timeout);
  const { answer, headers: answered } = await post(access, { path, body, headers, signal: interrupted, patienceMs });
  const isRepeat = answered['idempotent-replay'] === 'true';
  stdout.write(given.json ? `${JSON.stringify(answer)}\n` : renderAnswer(answer, isRepeat));
  return resultsOf(answer).some(({ error }) => error !== undefined) ? 1 : 0;
};

function readTarget({ to = [], topic, broadcast }: Given): { path: string; target: object } {
  const count = [to.length > 0, topic !== undefined, broadcast].filter(Boolean).length;
  if (count !== 1)
    throw new UsageError('Name a recipient: --to USER, --topic NAME or --broadcast. --help shows all options.');
  if (broadcast) return { path: '/websocket/message/broadcast', target: {} };
  if (topic !== undefined) return { path: `/topics/${encodeURIComponent(topic)}/messages`, target: {} };
  const [userId] = to;
  if (to.length === 1) return { path: '/websocket/message/user', target: { userId } };
  return { path: '/websocket/message/users', target: { userIds: to } };
}

async function readContent(
  given: Given,
  stdin: AsyncIterable<Buffer | string>,
): Promise<{ type: string; data: unknown }> {
  const { title, body, data, type } = given;
  if (title === undefined && body !== undefined) throw new UsageError('--body needs --title.');
  if (title === '') throw new UsageError('--title must not be empty.');
  if (title === undefined && data === undefined && type === undefined) {
    throw new UsageError(
      'Give a message: --title TEXT with --body TEXT, or --type TYPE with --data JSON. --help shows all options.',
    );
  }
  if (body === '-' && data === '-') throw new UsageError('--body and --data cannot both come from standard input.');
  const more = data === undefined ? {} : readJson('--data', data === '-' ? await readAll(stdin) : data);
  if (title === undefined) return { type: type ?? 'message', data: more };
  if (!isObject(more)) throw new UsageError('--data must be a JSON object when it is combined with --title.');
  const text = body === '-' ? (await readAll(stdin)).replace(/\r?\n$/, '') : (body ?? '');
  return { type: type ?? 'notification', data: { title, body: text, ...more } };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function readAll(stdin: AsyncIterable<Buffer | string>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stdin) {
    chunks.push(Buffer.from(chunk));
    bytes += chunk.length;
    if (bytes > MAX_INPUT_BYTES) throw new UsageError('Standard input has more than 16 MiB, the most that is read.');
  }
  return Buffer.concat(chunks).toString('utf8');
}

function readPatience(text: string): number {
  const seconds = readSeconds('--timeout', text);
  if (seconds >= 1 && seconds <= MAX_PATIENCE_SECONDS) return seconds * 1_000;
  throw new UsageError('--timeout must be a time from 1s to 1h.');
}

/** A header can only carry visible ASCII. */
function readKey(key: string): string {
  if (/^[\u0020-\u007e]+$/.test(key)) return key;
  throw new UsageError('--idempotency-key must contain visible ASCII characters only.');
}

/** The given options; the service checks them and their combination. */
function readSendOptions(given: Given): object {
  const seconds = (name: 'ttl' | 'delay') => {
    const text = given[name];
    return text === undefined ? undefined : readSeconds(`--${name}`, text);
  };
  // `undefined` is not in the JSON.
  return {
    id: given.id,
    event: given.event,
    ttl: seconds('ttl'),
    expiresAt: given['expires-at'],
    delay: seconds('delay'),
    sendAt: given['send-at'],
    collapseKey: given['collapse-key'],
    exceptUserId: given['except-user'],
    persist: given['live-only'] ? false : undefined,
  };
}

type Fields = Readonly<Record<string, unknown>>;

function resultsOf({ results }: Fields): readonly Fields[] {
  return Array.isArray(results) ? (results as Fields[]) : [];
}

function renderAnswer(answer: Fields, isRepeat: boolean): string {
  const repeat = isRepeat ? ' (a repeat: it was sent before)' : '';
  const { message, results: _results, success: _success, ...fields } = answer;
  const lines = [`${message}${repeat}`, renderFields(fields), ...resultsOf(answer).map(renderFields)];
  return `${lines
    .filter((line) => line !== '')
    .map(printable)
    .join('\n')}\n`;
}

/** `id 01M…  topic @user123  seq 5  connected yes  live ok` */
function renderFields(fields: Fields): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name} ${renderValue(value)}`)
    .join('  ');
}

function renderValue(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (!isObject(value)) return String(value);
  const { code, detail } = value as Fields;
  return `${code}: ${detail}`;
}

if (require.main === module) void runHere(send);
