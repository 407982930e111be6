/** The elements of page.html by id, and new ones. */

type Child = Node | string;
type Listener = (event: Event) => void;
type Attributes = Readonly<Record<string, string | Listener | undefined>>;

export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`page.html has no #${id}`);
  return element;
}

/** @throws Error when page.html has another element under this id. */
function typed<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const element = byId(id);
  if (element instanceof kind) return element;
  throw new Error(`#${id} in page.html is not a ${kind.name}`);
}

export const inputOf = (id: string): HTMLInputElement => typed(id, HTMLInputElement);
export const selectOf = (id: string): HTMLSelectElement => typed(id, HTMLSelectElement);
export const buttonOf = (id: string): HTMLButtonElement => typed(id, HTMLButtonElement);
export const detailsOf = (id: string): HTMLDetailsElement => typed(id, HTMLDetailsElement);

export type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

export function isField(element: unknown): element is Field {
  return [HTMLInputElement, HTMLTextAreaElement, HTMLSelectElement].some((kind) => element instanceof kind);
}

export function fieldValue(id: string): string {
  const element = byId(id);
  if (!isField(element)) throw new Error(`#${id} in page.html is not a field`);
  return element.value;
}

export function setValue(id: string, value: string): void {
  const element = byId(id);
  if (isField(element)) element.value = value;
}

export const textOf = (id: string): string => fieldValue(id).trim();

/** Makes an element. A function among the attributes listens to the event of that name. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') created.addEventListener(name, value);
    else if (value !== undefined) created.setAttribute(name, value);
  }
  created.append(...children);
  return created;
}

export function childrenOf(list: HTMLElement): HTMLElement[] {
  return [...list.children].filter((child) => child instanceof HTMLElement);
}

/** Gives a list these children in this order. Those that stay keep their place in the page, and the focus. */
export function arrange(list: HTMLElement, wanted: readonly HTMLElement[]): void {
  const staying = new Set(wanted);
  for (const child of childrenOf(list)) if (!staying.has(child)) child.remove();
  wanted.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
}

export function isAtEnd({ scrollHeight, scrollTop, clientHeight }: HTMLElement): boolean {
  return scrollHeight - scrollTop - clientHeight < 24;
}
