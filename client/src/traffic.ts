import type { TidingsError } from './errors.ts';

interface Frame {
  readonly event: string;
  /** As they are: the token of `auth:refresh` too. */
  readonly args: readonly unknown[];
}

/** One event over the connection, for logs and tools. */
export type Traffic =
  | (Frame & { readonly direction: 'received' })
  | (Frame & {
      readonly direction: 'sent';
      /** The answer, or why there is none, and how long that took. Absent where no answer is waited for. */
      readonly outcome?: { readonly ms: number } & ({ readonly reply: unknown } | { readonly error: TidingsError });
    });
