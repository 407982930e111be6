/** What is done around a call: check that the store is open, limit its time, convert errors. */
export type Around = (work: () => unknown) => Promise<unknown>;

/** Some methods of an object, as promises. */
type Wrapped<Source, Name extends keyof Source> = {
  readonly [One in Name]: Source[One] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** The same methods, run within `around`. */
export function wrap<Source extends object, Name extends keyof Source & string>(
  source: Source,
  around: Around,
  ...names: Name[]
): Wrapped<Source, Name> {
  const wrapped = names.map((name) => {
    const method = source[name] as (...args: unknown[]) => unknown;
    return [name, (...args: unknown[]) => around(() => method.apply(source, args))] as const;
  });
  return Object.fromEntries(wrapped) as Wrapped<Source, Name>;
}
