import type { Appended, Draft } from '../contract';
import { assertDraftFits } from '../rules/key-size';
import { clientKey, toContent, toMessage } from './record';
import type { Writer } from './writer';

export class Appends {
  constructor(private readonly writer: Writer) {}

  async append(draft: Draft): Promise<Appended> {
    assertDraftFits(draft);
    const { isClientId } = draft;
    const content = toContent(draft);
    const key = isClientId ? clientKey(draft) : undefined;
    const placed = await this.writer.append({ content, key, isClaimed: isClientId });
    if (placed.outcome === 'refused') return { outcome: 'conflict' };
    const message = toMessage(placed.doc);
    if (placed.isNew) return { outcome: 'stored', message, entries: [...placed.entries.map(toMessage), message] };
    return placed.doc.said === content.said ? { outcome: 'repeated', message } : { outcome: 'conflict' };
  }
}
