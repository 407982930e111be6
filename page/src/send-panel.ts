/** The send panel: choosing an operation, its fields, and sending it. */
import { TidingsError } from '../../client/src/index.ts';
import { markField, type ShownAnswer, showAnswer } from './answer-box.ts';
import { decodeToken, scopesOf } from './claims.ts';
import { buttonOf, byId, h, selectOf, setValue } from './dom.ts';
import { bareToken, type TokenField } from './fields.ts';
import { formatMs } from './format.ts';
import { OPERATIONS, type Operation, optionsOf, takesKey } from './operations.ts';
import { FieldError, sentenceOf } from './page-error.ts';
import { whenChosen } from './people.ts';
import { currentOperation, isSocketRequest, readRequest, type SocketRequest } from './request.ts';
import { exchange, type HttpRequest } from './rest.ts';
import { fieldOf, fillField, type NamedField, optionOf, renderField, typedText } from './send-fields.ts';
import { connectedClient, when } from './session.ts';
import { showRequest } from './snippet-box.ts';
import { openTab } from './tabs.ts';

const TOKEN_WORDS: readonly (readonly [string, TokenField, string])[] = [
  ['service', 'service-token', 'the service token'],
  ['own', 'token', 'my token'],
];

function listOperations(): void {
  for (const [group, operations] of Object.entries(OPERATIONS)) {
    const options = Object.entries(operations).map(([name, { label }]) => h('option', { value: name }, label));
    byId('operation').append(h('optgroup', { label: group }, ...options));
  }
}

export function showOperation(): void {
  const operation = currentOperation();
  const { fields, emit, isPublic = false, isFinal = false } = operation;
  const { options = false, key = options } = operation;
  render('send-fields', fields.map(fieldOf));
  byId('send-options').hidden = !key;
  render(
    'send-option-fields',
    [...optionsOf(operation), ...(takesKey(operation) ? ['idempotencyKey'] : [])].map(optionOf),
  );
  byId('send-as-field').hidden = emit !== undefined || isPublic;
  setValue('send-as', operation.as ?? 'service');
  byId('operation-note').textContent = noteOf(operation);
  buttonOf('send-submit').classList.toggle('danger', isFinal);
  buttonOf('send-submit').classList.toggle('primary', !isFinal);
  showSenders();
}

function render(id: string, fields: readonly NamedField[]): void {
  byId(id).replaceChildren(...fields.map((field) => renderField(field, showRequest)));
}

function noteOf({ emit, request, scope, isPublic = false }: Operation): string {
  if (emit !== undefined) return `The event ${emit}, over this tab's connection.`;
  const need = isPublic ? 'no token' : scope === undefined ? 'any valid token' : `scope ${scope}`;
  return `${request}: ${need}.`;
}

/** The users of the tokens, beside the choice between them. */
function showSenders(): void {
  for (const [value, field, words] of TOKEN_WORDS) {
    const option = selectOf('send-as').querySelector(`[value="${value}"]`);
    if (option !== null) option.textContent = words + describeToken(field);
  }
  showRequest();
}

function describeToken(field: TokenField): string {
  const token = bareToken(field);
  if (token === '') return ' (empty: the other one is used)';
  const claims = decodeToken(token);
  return claims?.['sub'] === undefined ? '' : `: ${String(claims['sub'])}, scopes ${scopesOf(claims)}`;
}

export async function send(): Promise<void> {
  const operation = currentOperation();
  showAnswer({});
  try {
    const request = readRequest();
    if (isSocketRequest(request)) showAnswer(await sendEvent(request));
    else if (isConfirmed(operation, request)) showAnswer(await sendRequest(request));
  } catch (error) {
    if (error instanceof FieldError) markField(error.field);
    showAnswer({ failure: sentenceOf(error) });
  }
}

function isConfirmed({ isFinal = false, label }: Operation, { path }: HttpRequest): boolean {
  return !isFinal || window.confirm(`${label}: ${decodeURIComponent(path)}? This cannot be undone.`);
}

async function sendRequest(request: HttpRequest): Promise<ShownAnswer> {
  const { response, answer, failure, ms } = await exchange(request);
  const status = [response.status, response.statusText].filter((part) => part !== '').join(' ');
  const replay = response.headers.get('idempotent-replay') === 'true' ? ', the first answer again' : '';
  return { status: `${status} in ${formatMs(ms)}${replay}`, failure, answer };
}

async function sendEvent({ emit, payload }: SocketRequest): Promise<ShownAnswer> {
  const client = connectedClient();
  const sentAt = performance.now();
  const took = () => formatMs(performance.now() - sentAt);
  try {
    const answer = await client.request(emit, payload);
    return { status: `Answered in ${took()}`, answer };
  } catch (error) {
    if (!(error instanceof TidingsError) || error.problem === undefined) throw error;
    return { status: `Refused in ${took()}`, failure: sentenceOf(error), answer: error.problem };
  }
}

function writeTo(userId: string): void {
  setValue('operation', 'notification');
  fillField('userId', userId);
  showOperation();
  openTab('send');
  byId('send-field-title').focus();
}

/** Most people first send to themselves. */
function proposeRecipient(userId: string | undefined): void {
  if (userId === undefined || typedText('userId') !== '') return;
  fillField('userId', userId);
  showRequest();
}

export function startSendPanel(): void {
  listOperations();
  showOperation();
  whenChosen(writeTo);
  when('online', ({ userId }) => proposeRecipient(userId));
  when('fields', showSenders);
}
