/** How actions ended, beside what started them. */
import { byId } from './dom.ts';
import { StaleError, sentenceOf } from './page-error.ts';
import { hideTokens } from './secrets.ts';

export type Outcome = 'good' | 'bad';

export function showOutcome(id: string, outcome: Outcome, sentence: string): void {
  const place = byId(id);
  place.dataset['outcome'] = outcome;
  place.textContent = hideTokens(sentence);
}

/** Runs an action and shows how it ended: the sentence that it returns, if any, or that of its failure. */
export async function run(resultId: string, action: () => unknown): Promise<void> {
  try {
    const result = await action();
    showOutcome(resultId, 'good', typeof result === 'string' ? result : '');
  } catch (error) {
    if (!(error instanceof StaleError)) showOutcome(resultId, 'bad', sentenceOf(error));
  }
}

/** For screen readers: what happened elsewhere on the page. */
export function announce(sentence: string): void {
  byId('announcer').textContent = hideTokens(sentence);
}
