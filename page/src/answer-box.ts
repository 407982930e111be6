/** The answer to what the send panel sent. */
import type { Problem, SendAnswer } from '../../client/src/index.ts';
import { byId, detailsOf, isField } from './dom.ts';
import { FIELDS } from './field-specs.ts';
import { formatTime, plural } from './format.ts';
import { showOutcome } from './outcome.ts';
import { formatPayload, MAX_PAYLOAD_CHARACTERS, shorten } from './secrets.ts';
import { fillField } from './send-fields.ts';

export interface ShownAnswer {
  readonly status?: string;
  /** The sentence of a refusal. */
  readonly failure?: string;
  readonly answer?: unknown;
}

export function showAnswer({ status = '', failure = '', answer }: ShownAnswer): void {
  const outcome = failure === '' ? 'good' : 'bad';
  showOutcome('answer-status', outcome, status);
  showOutcome('answer-sentence', outcome, failure || describeAnswer(answer));
  byId('answer').textContent = bodyOf(answer);
  byId('answer-box').hidden = byId('answer').textContent === '';
  const { errors = [], id } = ((typeof answer === 'object' ? answer : null) as Partial<Problem & SendAnswer>) ?? {};
  for (const { path } of errors) markField(path);
  if (failure === '' && typeof id === 'string') fillField('id', id);
}

function bodyOf(answer: unknown): string {
  if (answer === undefined) return '';
  return typeof answer === 'string' ? shorten(answer, MAX_PAYLOAD_CHARACTERS) : formatPayload(answer);
}

type Described = Partial<SendAnswer> & { readonly recipients?: number };

/** What an answer to a send means for the recipient. */
function describeAnswer(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return '';
  const { topic, connected, recipients, scheduledFor, seq, live } = answer as Described;
  if (topic === undefined || (connected === undefined && scheduledFor === undefined)) return '';
  if (scheduledFor !== undefined) return `Scheduled for ${formatTime(scheduledFor)}.`;
  if (seq === undefined)
    return connected ? 'Delivered live, not stored.' : 'Nobody is connected, and nothing is stored.';
  const degraded = live === 'degraded' ? ' Live delivery is degraded: it may take a few seconds.' : '';
  return describeStored(connected === true, recipients) + degraded;
}

function describeStored(isConnected: boolean, recipients: number | undefined): string {
  if (recipients !== undefined) return `Stored; ${plural(recipients, 'user')} connected now.`;
  if (isConnected) return 'Stored and delivered live.';
  return 'Stored. The recipient is offline: it arrives on the next connect.';
}

/** Marks the field that a refusal names, by its name or that of a part of it. */
export function markField(path: string): void {
  const [first = ''] = path.split('.');
  const others = Object.keys(FIELDS).filter((name) => FIELDS[name]?.name === first);
  const controls = [first, ...others, `option-${first}`].map((name) => document.getElementById(`send-field-${name}`));
  const control = controls.find(isField);
  if (control === undefined) return;
  if (byId('send-options').contains(control)) detailsOf('send-options').open = true;
  control.setAttribute('aria-invalid', 'true');
  control.focus();
}
