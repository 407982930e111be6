/** A part of a list whose entries have names, in the order of the store. */
export interface NamePage {
  /** Only what comes after this name. */
  readonly after?: string | undefined;
  /** At most so many. A page looks at a bounded number of rows, and may be short, or empty, without being the last. */
  readonly limit: number;
}

/** What one page holds. */
export interface Listed<Item> {
  readonly items: readonly Item[];
  /** After which name the next page begins; `undefined` when nothing is left. */
  readonly next: string | undefined;
}
