/** Messages of the topic that is open, one below the other. */
import type { MessageRef } from '../../client/src/index.ts';
import { ageOf } from './ages.ts';
import type { Arrival } from './arrival.ts';
import { byId, h, isAtEnd } from './dom.ts';
import { type Wordable, wordsOf } from './message-words.ts';
import { hideTokens, shorten } from './secrets.ts';

const MAX_TEXT_CHARACTERS = 2_000;

class Line {
  readonly element: HTMLElement;
  readonly #text = h('span');

  constructor(readonly message: Arrival) {
    const from = h('span', { class: 'from' }, hideTokens(message.from));
    this.element = h('li', {}, from, ' ', this.#text, ' ', ageOf(message.timestamp));
    this.show(message);
  }

  show(message: Wordable): void {
    const { title, text } = wordsOf(message);
    this.#text.textContent = shorten(text || title, MAX_TEXT_CHARACTERS);
  }
}

/** By `seq`: a message that was read may also arrive live. */
const lines = new Map<number, Line>();

export function addLine(message: Arrival, place: Element | null = null): void {
  const { seq } = message;
  if (seq !== undefined && lines.has(seq)) return;
  const wasAtEnd = isAtEnd(byId('history-box'));
  const line = new Line(message);
  if (seq !== undefined) lines.set(seq, line);
  byId('history').insertBefore(line.element, place);
  if (place === null && wasAtEnd) scrollToEnd();
}

/** Changes the line of a message that an entry is about. */
export function changeLine({ ref, refSeq }: MessageRef, change: (line: Line) => void): void {
  for (const line of refSeq === undefined ? lines.values() : [lines.get(refSeq)]) {
    if (line?.message.id === ref) change(line);
  }
}

export function clearLines(): void {
  lines.clear();
  byId('history').replaceChildren();
}

export function earliestSeq(): number {
  return Math.min(...lines.keys());
}

export function scrollToEnd(): void {
  const box = byId('history-box');
  box.scrollTop = box.scrollHeight;
}
