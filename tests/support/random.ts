/** Seeded randomness: replay a failure with TIDINGS_SEED=<the printed seed>. */
export interface Random {
  readonly seed: number;
  /** A whole number from `from` to `to`, inclusive. */
  integer(from: number, to: number): number;
}

/** @param usual the default seed; without one, a different seed each time. */
export function seededRandom(name: string, usual = Math.floor(Math.random() * 2 ** 31)): Random {
  const seed = Number(process.env['TIDINGS_SEED'] ?? usual);
  process.stdout.write(`${name}: TIDINGS_SEED=${seed}\n`);
  return randomOf(seed);
}

/** The numbers of one seed. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  // Mulberry32: 32 bits of state are plenty to choose moments.
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { seed, integer: (from, to) => from + Math.floor(next() * (to - from + 1)) };
}
