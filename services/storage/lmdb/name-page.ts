import type { Listed } from '../contract';

/** Rows that one page looks at: deleted and private ones show nothing. */
const MAX_LOOKED_AT = 1_000;

interface Row<Value> {
  readonly key: string | readonly [string, string];
  readonly value: Value;
}

/** One page of rows in the order of names, the last part of their keys. */
export function pageOf<Value, Item>(
  rows: Iterable<Row<Value>>,
  limit: number,
  toItem: (name: string, value: Value) => Item | undefined,
): Listed<Item> {
  const items: Item[] = [];
  let looked = 0;
  let last: string | undefined;
  for (const { key, value } of rows) {
    if (items.length === limit || looked === MAX_LOOKED_AT) return { items, next: last };
    looked += 1;
    last = typeof key === 'string' ? key : key[1];
    const item = toItem(last, value);
    if (item !== undefined) items.push(item);
  }
  return { items, next: undefined };
}
