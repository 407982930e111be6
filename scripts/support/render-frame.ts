/** What the service sends, as lines for people. */
import { SERVER_EVENTS } from '../../utils/protocol';
import { type Frame, placeOf } from './listening';
import { type Paint, printable, printableJson } from './text';

const OWN_EVENTS: ReadonlySet<string> = new Set(SERVER_EVENTS);

/** Is it from a sender? Everything else is news from the service. */
export function isMessage({ event }: Frame): boolean {
  return event === 'message' || !OWN_EVENTS.has(event);
}

/** `time  topic  seq  type  data`; with `event: ` before the type for a custom event. */
export function renderFrame(frame: Frame, paint: Paint): string {
  const { event, timestamp = new Date().toISOString(), topic, seq, type, ...rest } = frame;
  const what = event === 'message' ? String(type) : event;
  const payload = isMessage(frame) ? frame['data'] : rest;
  return [
    paint('dim', printable(String(timestamp))),
    paint('cyan', printable(String(topic ?? '-'))),
    paint('yellow', placeOf(frame) === undefined ? '-' : String(seq)),
    paint('bold', printable(what)),
    printableJson(payload ?? null),
  ].join('  ');
}

type Notice = (frame: Frame) => string;

/** News about the connection, not about messages. An empty text: nothing that a person needs to know. */
const NOTICES: ReadonlyMap<string, Notice> = new Map<string, Notice>([
  ['authenticated', ({ userId, device }) => `Connected as ${userId}, device ${device}. Ctrl-C ends.`],
  ['connected', () => ''],
  ['pong', () => ''],
  ['sync:done', ({ counts }) => `Up to date: ${describeCounts(counts)}.`],
  ['auth:expiring', ({ expiresAt }) => `The token expires at ${expiresAt}.`],
  ['closing', ({ code, reason }) => `The service closes the connection (${code}): ${reason}`],
]);

/** What to print about the connection; `undefined` for an event that is printed itself. */
export function noticeOf(frame: Frame): string | undefined {
  const notice = NOTICES.get(frame.event)?.(frame);
  return notice === undefined ? undefined : printable(notice);
}

function describeCounts(counts: unknown): string {
  const { unseen, unread } = counts as { unseen: number; unread: number };
  return `${unseen} unseen, ${unread} unread`;
}
