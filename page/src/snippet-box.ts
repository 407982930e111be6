/** The request of the send panel as a snippet, in the language that is chosen. */
import { copyText } from './clipboard.ts';
import { byId } from './dom.ts';
import { sentenceOf } from './page-error.ts';
import { isSocketRequest, type PanelRequest, readRequest } from './request.ts';
import { MAX_PAYLOAD_CHARACTERS, shorten } from './secrets.ts';
import { isLanguage, LANGUAGES, toClientCall, withoutToken } from './snippets.ts';

function snippetOf(request: PanelRequest): string {
  if (isSocketRequest(request)) return toClientCall(request);
  const chosen = document.querySelector<HTMLInputElement>('input[name="language"]:checked')?.value ?? '';
  return LANGUAGES[isLanguage(chosen) ? chosen : 'curl'](request);
}

export function showRequest(): void {
  try {
    const request = readRequest();
    const isSocket = isSocketRequest(request);
    byId('language').hidden = isSocket;
    byId('request-label').hidden = !isSocket;
    byId('request').textContent = shorten(
      snippetOf(isSocket ? request : withoutToken(request)),
      MAX_PAYLOAD_CHARACTERS,
    );
  } catch (error) {
    byId('request').textContent = sentenceOf(error);
  }
}

export async function copyRequest(): Promise<string> {
  const request = readRequest();
  await copyText(snippetOf(request));
  const hasToken = !isSocketRequest(request) && request.token !== '';
  return hasToken ? 'Copied with the token in it: whoever has the text can use it.' : 'Copied.';
}
