/** Other people's text on a terminal: characters that could control it are written as escapes. */
import { styleText } from 'node:util';
import type { Output, Terminal } from './terminal';

/** C0 and C1 controls begin escape sequences; the others change the direction of a line or break it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const STEERING = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** The text without characters that control a terminal: `\u009b` instead of the character itself. */
export function printable(text: string): string {
  return text.replaceAll(STEERING, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** JSON on one line, as JSON.stringify writes it, with escapes for what could control a terminal. */
export function printableJson(value: unknown): string {
  return printable(JSON.stringify(value));
}

type Style = Parameters<typeof styleText>[0];
export type Paint = (style: Style, text: string) => string;

/** Colours text for a terminal that supports it, unless NO_COLOR is set. */
export function painterFor(output: Output, env: Terminal['env']): Paint {
  const isColoured = output.isTTY === true && output.hasColors?.(16, env) === true;
  return isColoured ? (style, text) => styleText(style, text, { validateStream: false }) : (_style, text) => text;
}

/** A number for people: `12,345`. */
export function grouped(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}
