/** Fields of untrusted values, whose shape is unknown. */

/** Looks up only one name: a payload may be a megabyte of bytes, which would be as many fields. */
export function hasField(payload: unknown, name: string): payload is object {
  return typeof payload === 'object' && payload !== null && Object.hasOwn(payload, name);
}

export function fieldOf(payload: unknown, name: string): unknown {
  return hasField(payload, name) ? (payload as Record<string, unknown>)[name] : undefined;
}
