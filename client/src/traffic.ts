import type { TidingsError } from './errors.ts';

interface Frame {
  readonly event: string;
  /** Unchanged: includes the token of `auth:refresh`. */
  readonly args: readonly unknown[];
}

/** One event over the connection, for logs and tools. */
export type Traffic =
  | (Frame & { readonly direction: 'received' })
  | (Frame & {
      readonly direction: 'sent';
      /** The answer, or why there is none, and how long it took. Absent if no answer is expected. */
      readonly outcome?: { readonly ms: number } & ({ readonly reply: unknown } | { readonly error: TidingsError });
    });
