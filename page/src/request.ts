/** The request that the send panel describes. */
import { fieldValue, selectOf } from './dom.ts';
import { FIELDS } from './field-specs.ts';
import { readServer } from './fields.ts';
import { type Operation, operationOf, optionsOf, takesKey } from './operations.ts';
import { FieldError } from './page-error.ts';
import { type HttpRequest, tokenOf } from './rest.ts';
import { fieldOf, optionOf, readField, sentNameOf } from './send-fields.ts';

export interface SocketRequest {
  readonly emit: string;
  readonly payload?: Readonly<Record<string, unknown>>;
}

export type PanelRequest = HttpRequest | SocketRequest;

export function isSocketRequest(request: PanelRequest): request is SocketRequest {
  return 'emit' in request;
}

export function currentOperation(): Operation {
  return operationOf(selectOf('operation').value);
}

/** @throws PageError for a field that cannot be read or is missing. */
export function readRequest(): PanelRequest {
  const operation = currentOperation();
  const input = readInput(operation);
  const { emit, fields } = operation;
  if (emit === undefined) return httpRequest(operation, input);
  return fields.length === 0 ? { emit } : { emit, payload: Object.fromEntries(input) };
}

function readInput(operation: Operation): Map<string, unknown> {
  const fields = [...operation.fields.map(fieldOf), ...optionsOf(operation).map(optionOf)];
  const values = fields.map((field): [string, unknown] => [sentNameOf(field), readField(field)]);
  return new Map(values.filter(([, value]) => value !== undefined));
}

function httpRequest(operation: Operation, input: Map<string, unknown>): HttpRequest {
  const [method = '', pattern = ''] = (operation.request ?? '').split(' ');
  const path = fillPath(pattern, input);
  const takesBody = method === 'POST' || method === 'PATCH';
  const query = takesBody ? '' : toQuery(input);
  return {
    method,
    path: query === '' ? path : `${path}?${query}`,
    base: readServer(),
    token: operation.isPublic ? '' : tokenOf[fieldValue('send-as') === 'own' ? 'own' : 'service'](),
    headers: headersOf(operation),
    ...(takesBody ? { body: Object.fromEntries(input) } : {}),
  };
}

/** Takes what the path names out of the input. @throws FieldError when it is not there. */
function fillPath(pattern: string, input: Map<string, unknown>): string {
  return pattern.replace(/:(\w+)/g, (_whole, name: string) => {
    const value = input.get(name);
    input.delete(name);
    if (value !== undefined) return encodeURIComponent(String(value));
    throw new FieldError(name, `${FIELDS[name]?.label ?? name} is empty: the address of the request needs it.`);
  });
}

function toQuery(input: ReadonlyMap<string, unknown>): string {
  return new URLSearchParams([...input].map(([name, value]): [string, string] => [name, String(value)])).toString();
}

function headersOf(operation: Operation): Record<string, string> {
  const key = takesKey(operation) ? readField(optionOf('idempotencyKey')) : undefined;
  return key === undefined ? {} : { 'Idempotency-Key': String(key) };
}
