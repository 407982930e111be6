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

export function priceOf(event: unknown): number {
  return PRICES.get(event) ?? 1;
}
