/** What is done around a call: is the store open, how long may it take, what does a fault become. */
export type Around = (work: () => unknown) => Promise<unknown>;

/** Some methods of an object, each of which promises what the method gives. */
type Wrapped<Source, Name extends keyof Source> = {
  readonly [One in Name]: Source[One] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** Makes the same methods, whose work is done within `around`. */
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
