/** Messages as they come over the socket, whatever their event. */
import { type MessageMeta, SERVER_EVENTS } from './wire.ts';

export interface Arrival extends MessageMeta {
  readonly type?: string | undefined;
  readonly event?: string | undefined;
  readonly data: unknown;
}

const OWN_EVENTS: ReadonlySet<string> = new Set(SERVER_EVENTS);

/** The message of a frame; `undefined` if it is none. */
export function readArrival(event: string, [first, second]: readonly unknown[]): Arrival | undefined {
  if (event === 'message') return isMessage(first) ? first : undefined;
  if (OWN_EVENTS.has(event) || !isMeta(second)) return undefined;
  return { ...second, data: first, event };
}

function isMeta(value: unknown): value is MessageMeta {
  return typeof value === 'object' && value !== null && 'topic' in value && typeof value.topic === 'string';
}

/** An echo has no topic. */
function isMessage(value: unknown): value is Arrival {
  return isMeta(value) && 'data' in value;
}
