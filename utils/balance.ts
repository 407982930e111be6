/**
 * What is taken at the moment, by name: places, sockets, claims, whatever somebody has to give back. When nobody is
 * there and nothing is under way all of it is zero; what is not has leaked.
 */
export type Balance = Readonly<Record<string, number>>;

/** Whoever hands something out says how much of it is out. No two of them use a name. */
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
