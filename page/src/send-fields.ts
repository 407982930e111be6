/** The fields of the chosen operation, and what was typed into them. */
import { h } from './dom.ts';
import { FIELDS, type FieldSpec, OPTIONS } from './field-specs.ts';
import { FieldError } from './page-error.ts';

/** What was typed, by field: it is kept when another operation is chosen. */
const typed = new Map<string, string | boolean>(
  Object.entries(FIELDS).map(([name, { value = '' }]): [string, string] => [name, value]),
);

export interface NamedField {
  readonly name: string;
  readonly spec: FieldSpec;
}

function specOf(specs: Readonly<Record<string, FieldSpec>>, name: string): FieldSpec {
  const spec = specs[name];
  if (spec === undefined) throw new Error(`there is no field ${name}`);
  return spec;
}

export function fieldOf(name: string): NamedField {
  return { name, spec: specOf(FIELDS, name) };
}

/** Options are fields of their own: an operation may have a field of the same name. */
export function optionOf(name: string): NamedField {
  return { name: `option-${name}`, spec: { name, ...specOf(OPTIONS, name) } };
}

/** The name under which the field is sent. */
export function sentNameOf({ name, spec }: NamedField): string {
  return spec.name ?? name;
}

/** The control with its label, filled with what was typed before. */
export function renderField({ name, spec }: NamedField, onInput: () => void): HTMLElement {
  const id = `send-field-${name}`;
  const isCheck = spec.kind === 'check' || spec.kind === 'unless';
  return isCheck ? renderCheck(id, name, spec, onInput) : renderText(id, name, spec, onInput);
}

function renderCheck(id: string, name: string, { label }: FieldSpec, onInput: () => void): HTMLElement {
  const box = h('input', { id, type: 'checkbox' });
  box.checked = typed.get(name) === true;
  box.addEventListener('input', () => {
    typed.set(name, box.checked);
    onInput();
  });
  return h('label', { class: 'check' }, box, label);
}

function renderText(id: string, name: string, spec: FieldSpec, onInput: () => void): HTMLElement {
  const { label, kind = 'text', choices = [], isWide = kind === 'json' } = spec;
  const control = controlOf(id, spec);
  const value = String(typed.get(name) ?? '');
  control.value = value === '' && kind === 'choice' ? (choices[0] ?? '') : value;
  control.addEventListener('input', () => {
    typed.set(name, control.value);
    control.removeAttribute('aria-invalid');
    onInput();
  });
  return h('div', { class: isWide ? 'field wide' : 'field' }, h('label', { for: id }, label), control);
}

function controlOf(
  id: string,
  { kind, choices = [] }: FieldSpec,
): HTMLSelectElement | HTMLTextAreaElement | HTMLInputElement {
  if (kind === 'choice') {
    return h('select', { id }, ...choices.map((choice) => h('option', { value: choice }, choice || 'any')));
  }
  if (kind === 'json') return h('textarea', { id, class: 'code', rows: '3', spellcheck: 'false' });
  const inputmode = kind === 'number' ? 'numeric' : undefined;
  return h('input', { id, inputmode, autocapitalize: 'off', spellcheck: 'false' });
}

export function typedText(name: string): string {
  return String(typed.get(name) ?? '');
}

export function fillField(name: string, value: string): void {
  typed.set(name, value);
  const control = document.querySelector<HTMLInputElement>(`#send-field-${CSS.escape(name)}`);
  if (control !== null) control.value = value;
}

/** The value of a field; `undefined` if left empty. @throws FieldError when it cannot be read. */
export function readField({ name, spec }: NamedField): unknown {
  const { kind = 'text', choices = [] } = spec;
  const value = typed.get(name) ?? '';
  if (kind === 'check' || kind === 'unless') return value === true ? kind === 'check' : undefined;
  const text = kind === 'choice' && value === '' ? (choices[0] ?? '') : String(value);
  if (text.trim() === '') return undefined;
  return kind === 'text' ? text : readText(text.trim(), { name, spec });
}

function readText(text: string, field: NamedField): unknown {
  const { kind } = field.spec;
  if (kind === 'json') return readJson(text, field);
  if (kind === 'list') return text.split(',').flatMap((item) => item.trim() || []);
  // What is not a number is sent unchanged: the service's refusal names the field.
  return kind === 'number' && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

function readJson(text: string, { name, spec }: NamedField): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const label = spec.label.replace(/ \(.*/, '');
    const reason = error instanceof Error ? error.message : String(error);
    const advice = 'Texts need double quotes, as in {"message": "Hello"}.';
    throw new FieldError(name, `${label} is not valid JSON: ${reason}. ${advice}`);
  }
}
