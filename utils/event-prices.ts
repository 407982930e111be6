/**
 * What a client event or action counts against SOCKET_EVENTS_PER_SECOND. What reads much costs more than one;
 * acknowledgements are coalesced, and free.
 */
const PRICES: ReadonlyMap<unknown, number> = new Map([
  ['ack', 0],
  ['history', 4],
  ['topic:list', 10],
  ['presence:subscribe', 10],
  ['presence', 10],
]);

/** Of a change of states that looks through an inbox or a topic. */
const PRICE_OF_WHOLE = 10;

export function priceOf(event: unknown, payload: unknown): number {
  if (event === 'state' && changesWhole(payload)) return PRICE_OF_WHOLE;
  if (event === 'presence' && turnsOff(payload)) return 1;
  return PRICES.get(event) ?? 1;
}

/** The plain endpoint has one action for watching the lobby and for the end of it, which reads nothing. */
function turnsOff(payload: unknown): boolean {
  return typeof payload === 'object' && payload !== null && (payload as { on?: unknown }).on === false;
}

/** Does a change of states name no messages, so that all of an inbox or a topic is looked through? */
export function changesWhole(payload: unknown): boolean {
  return typeof payload === 'object' && payload !== null && !Object.hasOwn(payload, 'ids');
}
