/** Messages in words: what a person would read first in any JSON value. */
const MAX_HEADLINE_CHARACTERS = 100;

export interface Wordable {
  readonly type?: string | undefined;
  readonly event?: string | undefined;
  readonly data: unknown;
}

export interface Words {
  readonly title: string;
  readonly text: string;
}

export function wordsOf({ type, event, data }: Wordable): Words {
  const kind = event ?? type ?? 'message';
  if (typeof data !== 'object' || data === null) return { title: kind, text: String(data) };
  const { title, body, message, text, content } = data as Readonly<Record<string, unknown>>;
  const words = [body, message, text, content].find(isFilled);
  if (isFilled(title)) return { title, text: words ?? '' };
  if (words === undefined) return { title: kind, text: JSON.stringify(data) };
  return words.length <= MAX_HEADLINE_CHARACTERS ? { title: words, text: '' } : { title: kind, text: words };
}

function isFilled(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
