/** How delivery reads a log: page by page, each small enough for the buffer of a connection. */
import type { Page, Reader, Store } from '../storage/contract';

const MAX_PAGE_BYTES = 256 * 1024;

export interface TopicReader {
  /** Last `seq` of a log. */
  head(topic: string): Promise<number>;
  read(topic: string, options: { after: number; limit: number; reader?: Reader }): Promise<Page>;
}

/** A page fits the buffer of a connection, so catch-up never makes a slow consumer of anybody. */
export function createTopicReader(store: Store, maxBufferedBytes: number): TopicReader {
  const maxBytes = Math.min(MAX_PAGE_BYTES, maxBufferedBytes);
  return {
    head: (topic) => store.log.head(topic),
    read: (topic, options) => store.log.read(topic, { ...options, maxBytes }),
  };
}
