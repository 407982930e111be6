/** Who is typing in the topic that is open, and letting others know. */
import type { Typing } from '../../client/src/index.ts';
import { byId } from './dom.ts';
import { currentSession, isOnline, when } from './session.ts';

/** The service forgets that somebody is typing after five seconds. */
const REPEAT_MS = 3_000;

const typists = new Map<string, Typing>();
let shownTopic: string | undefined;
/** When others were last notified that this user types; `undefined`: not typing. */
let typedAt: number | undefined;

function receive(typing: Typing): void {
  const key = `${typing.topic} ${typing.userId}`;
  if (typing.typing) typists.set(key, typing);
  else typists.delete(key);
  showTypists(shownTopic);
}

export function showTypists(topic: string | undefined): void {
  shownTopic = topic;
  const names = [...typists.values()].filter((typist) => typist.topic === topic).map(({ userId }) => userId);
  const verb = names.length === 1 ? 'is' : 'are';
  byId('typing').textContent = names.length === 0 ? '' : `${names.join(', ')} ${verb} typing…`;
}

export function noticeTyping(): void {
  const now = performance.now();
  if (typedAt !== undefined && now - typedAt < REPEAT_MS) return;
  if (say(true)) typedAt = now;
}

export function stopTyping(): void {
  if (typedAt === undefined) return;
  typedAt = undefined;
  say(false);
}

/** @returns could it be sent? */
function say(isTyping: boolean): boolean {
  if (shownTopic === undefined || !isOnline()) return false;
  currentSession()?.client.typing(shownTopic, isTyping);
  return true;
}

function forget(): void {
  typists.clear();
  showTypists(shownTopic);
}

export function startTyping(): void {
  when('opened', ({ client }) => client.on('typing', receive));
  when('gone', forget);
}
