/** One click gets new tokens of a development user: see docs/decisions/0015. */
import { closeConnection, connect, reportFailure } from './connection.ts';
import { DEVELOPMENT_USERS } from './development-users.ts';
import { byId, detailsOf, h, setValue } from './dom.ts';
import { ownBase } from './fields.ts';
import { PageError, sentenceOf } from './page-error.ts';
import { exchange } from './rest.ts';
import { notify } from './session.ts';
import { showPrimary, showState } from './state.ts';

interface SampleTokens {
  readonly users: readonly { readonly userId: string; readonly token: string }[];
  readonly service: { readonly token: string };
}

/** Counts presses: what was started before the last one is stale. */
let attempt = 0;

export function offerDevelopmentTokens(): void {
  const isOffered = DEVELOPMENT_USERS.length > 0;
  byId('development').hidden = !isOffered;
  detailsOf('settings').open = !isOffered;
  const buttons = DEVELOPMENT_USERS.map((user) =>
    h('button', { type: 'button', class: 'soft', click: () => void connectAs(user) }, user),
  );
  byId('development-users').append(...buttons);
  showPrimary();
}

async function connectAs(userId: string): Promise<void> {
  closeConnection();
  attempt += 1;
  const thisAttempt = attempt;
  showState('connecting', `As ${userId}.`);
  try {
    const tokens = await fetchTokens();
    if (thisAttempt !== attempt) return;
    fillIn(userId, tokens);
    connect();
  } catch (error) {
    if (thisAttempt === attempt) reportFailure(sentenceOf(error));
  }
}

function fillIn(userId: string, { users, service }: SampleTokens): void {
  setValue('server-url', ownBase());
  setValue('token', users.find((user) => user.userId === userId)?.token ?? '');
  setValue('service-token', service.token);
  notify('fields');
}

async function fetchTokens(): Promise<SampleTokens> {
  const { answer, failure } = await exchange({ method: 'POST', path: '/development/tokens', base: ownBase() });
  if (failure !== '') throw new PageError(failure);
  return answer as SampleTokens;
}

/** A press of Connect or Disconnect meanwhile is newer. */
export function forgetAttempt(): void {
  attempt += 1;
}
