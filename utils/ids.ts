import { monotonicFactory } from 'ulid';

/** Makes the id of a message that brought none: a ULID, so ids of one process sort by time. */
export const newId: (milliseconds: number) => string = monotonicFactory();
