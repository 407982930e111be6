import { h } from './dom.ts';
import { PageError } from './page-error.ts';

export async function copyText(text: string): Promise<void> {
  // The modern way exists only in secure contexts; a service in the local network has plain http.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard !== undefined && (await isWritten(clipboard, text))) return;
  if (!copySelection(text)) {
    throw new PageError('This browser does not let the page copy. Select the text and copy it yourself.');
  }
}

async function isWritten(clipboard: Clipboard, text: string): Promise<boolean> {
  try {
    await clipboard.writeText(text);
    return true;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'NotAllowedError') return false;
    throw error;
  }
}

/** The old way, which still works everywhere. */
function copySelection(text: string): boolean {
  const field = h('textarea', { class: 'unseen-by-eye', 'aria-hidden': 'true' });
  const focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand('copy');
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return isCopied;
}
