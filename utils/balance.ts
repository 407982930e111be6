/**
 * What is in use, by name: places, sockets, claims, whatever has to be given back. When nobody is connected and nothing
 * is running, every number is zero; anything else has leaked.
 */
export type Balance = Readonly<Record<string, number>>;

/** Whoever hands something out reports how much of it is out. Every name has one owner. */
export interface Lender {
  readonly balance: Balance;
}

export function balanceOf(lenders: readonly Lender[]): Balance {
  const all: Record<string, number> = {};
  for (const { balance } of lenders) {
    for (const [name, count] of Object.entries(balance)) {
      if (name in all) throw new Error(`two lenders count ${name}`);
      all[name] = count;
    }
  }
  return all;
}
