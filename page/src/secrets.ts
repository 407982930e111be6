/** Tokens never appear in what is shown, even when a message contains one. */
import { bareToken, type TokenField } from './fields.ts';

/** A shorter text in a token field is a typing error; hiding it would blank out half the log. */
const MIN_HIDDEN_CHARACTERS = 12;
/** The service refuses longer ones. */
const MAX_TOKEN_CHARACTERS = 8 * 1024;
export const MAX_PAYLOAD_CHARACTERS = 20_000;

const TOKEN_FIELDS: readonly TokenField[] = ['token', 'service-token'];

export function hideTokens(text: string): string {
  const secrets = TOKEN_FIELDS.map(bareToken).filter((secret) => secret.length >= MIN_HIDDEN_CHARACTERS);
  const withoutJwt = text.replace(/\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?/g, '[token]');
  return secrets.reduce((rest, secret) => rest.replaceAll(secret, '[token]'), withoutJwt);
}

/** Hides tokens too: the cut may go through one, so the possible rest of one is removed as well. */
export function shorten(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters) return hideTokens(text);
  let end = maxCharacters;
  while (end > 0 && maxCharacters - end < MAX_TOKEN_CHARACTERS && /[\w.-]/.test(text.charAt(end - 1))) end -= 1;
  return `${hideTokens(text.slice(0, end))}… (${text.length - end} characters more)`;
}

export function formatPayload(payload: unknown): string {
  return shorten(String(JSON.stringify(payload, null, 2)), MAX_PAYLOAD_CHARACTERS);
}
