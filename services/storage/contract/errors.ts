/** The store could not do what was asked; `isFull`: there is no space left. */
export class StoreError extends Error {
  readonly isFull: boolean;

  constructor(message: string, options: { isFull?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StoreError';
    this.isFull = options.isFull ?? false;
  }
}

/** The store cannot be opened: in use, damaged, or written by another version. The sentence is for the operator. */
export class StoreOpenError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StoreOpenError';
  }
}
