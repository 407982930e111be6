/** One batch that went to the disk, or to the server, together. */
export interface Flush {
  readonly writes: number;
  readonly durationMs: number;
  /** false: the store did not accept it. */
  readonly isDone: boolean;
}

export type FlushListener = (flush: Flush) => void;
