/** What the client sends and receives: into the list of events, and messages to the parts of the page. */
import type { Authenticated, Closing, Traffic } from '../../client/src/index.ts';
import { readArrival } from './arrival.ts';
import { asSentence, explainProblem, OR_CHOOSE_ONE } from './explain.ts';
import { formatMs } from './format.ts';
import { log } from './log.ts';
import { sentenceOf } from './page-error.ts';
import { notify, type Session } from './session.ts';
import { showIdentity } from './state.ts';

type Sent = Extract<Traffic, { direction: 'sent' }>;
type Outcome = NonNullable<Sent['outcome']>;

export function watchTraffic(session: Session): void {
  session.client.onTraffic((traffic) => {
    if (traffic.direction === 'sent') logSent(traffic);
    else receive(session, traffic.event, traffic.args);
  });
}

function receive(session: Session, event: string, args: readonly unknown[]): void {
  log(event, { kind: 'received', payloads: args });
  if (event === 'closing') session.farewell = farewellOf(args[0] as Closing | undefined);
  // The client comes online right after, and its page shows the state of that.
  if (event === 'authenticated') queueMicrotask(() => identify(args[0] as Authenticated));
  const message = readArrival(event, args);
  if (message === undefined) return;
  session.arrived += 1;
  notify('message', message, session);
}

function identify({ device, socketId }: Authenticated): void {
  log('connect', { kind: 'page', note: socketId });
  showIdentity(device, socketId);
}

const CODES_THAT_END_A_TOKEN: ReadonlySet<string> = new Set(['token_expired', 'revoked']);

function farewellOf({ code, reason }: Partial<Closing> = {}): string {
  const advice = CODES_THAT_END_A_TOKEN.has(code ?? '') ? ` Paste a fresh token${OR_CHOOSE_ONE}.` : '';
  return `${asSentence(reason ?? 'The service closes the connection')}${advice} (${code})`;
}

function logSent({ event, args, outcome }: Sent): void {
  if (outcome === undefined) {
    log(event, { kind: 'sent', payloads: args });
    return;
  }
  const failure = failureOf(outcome);
  const note = [formatMs(outcome.ms), failure].filter((part) => part !== '').join(': ');
  const reply = 'reply' in outcome ? [outcome.reply] : [];
  log(event, { kind: failure === '' ? 'sent' : 'error', note, payloads: [...args, ...reply] });
}

function failureOf(outcome: Outcome): string {
  if ('error' in outcome) return sentenceOf(outcome.error);
  const { ok, error } = outcome.reply as { readonly ok?: boolean; readonly error?: object };
  return ok === true ? '' : explainProblem(error ?? {});
}
