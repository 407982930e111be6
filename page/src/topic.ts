/** The topic that is open: its members, its messages, and writing to it. */
import type { MessageRemoved, MessageUpdated, Topic } from '../../client/src/index.ts';
import type { Arrival } from './arrival.ts';
import { buttonOf, byId, childrenOf, fieldValue, setValue, textOf } from './dom.ts';
import { addLine, changeLine, clearLines, earliestSeq, scrollToEnd } from './lines.ts';
import { onlineUsers } from './online-users.ts';
import { run } from './outcome.ts';
import { PageError } from './page-error.ts';
import { showPeople } from './people.ts';
import { callOwn } from './rest.ts';
import { connectedClient, shownUser, when } from './session.ts';
import { showTypists, stopTyping } from './typing.ts';

const PAGE_SIZE = 50;

let shown: Topic | undefined;
/** Users who have written to it without being members: services may. */
const strangers = new Set<string>();

export async function showTopic(topic: Topic | undefined): Promise<void> {
  shown = topic;
  byId('topic').hidden = topic === undefined;
  showTypists(topic?.name);
  strangers.clear();
  clearLines();
  buttonOf('history-older').hidden = true;
  if (topic === undefined) return;
  const { name, isMember, owner } = topic;
  byId('topic-title').textContent = name;
  byId('topic-join').hidden = isMember;
  byId('topic-leave').hidden = !isMember || owner === shownUser();
  byId('topic-delete').hidden = owner !== shownUser();
  byId('topic-inside').hidden = !isMember;
  await showMembers(name);
  if (isMember) await showHistory(name);
}

async function showMembers(name: string): Promise<void> {
  const path = `/topics/${encodeURIComponent(name)}/members`;
  const { members } = await callOwn<{ members: readonly { readonly userId: string }[] }>('GET', path);
  if (name !== shown?.name) return;
  showPeople(
    byId('members'),
    members.map(({ userId }) => userId),
    onlineUsers(),
  );
}

async function showHistory(name: string, before?: number): Promise<void> {
  const range = before === undefined ? { limit: PAGE_SIZE } : { limit: PAGE_SIZE, before };
  const messages = await connectedClient().history(name, range);
  if (name !== shown?.name) return;
  const place = before === undefined ? null : byId('history').firstElementChild;
  for (const message of messages) addLine(message, place);
  buttonOf('history-older').hidden = messages.length < PAGE_SIZE;
  if (before === undefined) scrollToEnd();
}

export async function showEarlier(): Promise<void> {
  if (shown !== undefined) await showHistory(shown.name, earliestSeq());
}

/** The service does not report who joins: a sender who is not listed is looked up. */
function noticeMember(userId: string, name: string): void {
  const isListed = childrenOf(byId('members')).some(({ dataset }) => dataset['user'] === userId);
  if (isListed || strangers.has(userId)) return;
  strangers.add(userId);
  void run('topic-result', () => showMembers(name));
}

function receive(message: Arrival): void {
  if (shown === undefined || message.topic !== shown.name) return;
  addLine(message);
  noticeMember(message.from, shown.name);
}

function onUpdated(entry: MessageUpdated): void {
  if (entry.topic === shown?.name) changeLine(entry, (line) => line.show({ data: entry.data }));
}

function onRemoved(entry: MessageRemoved): void {
  if (entry.topic === shown?.name) changeLine(entry, (line) => line.element.remove());
}

/** @throws PageError when no topic is open. */
function shownName(): string {
  if (shown === undefined) throw new PageError('Choose a topic first.');
  return shown.name;
}

export async function inviteToTopic(): Promise<string> {
  const [name, userId] = [shownName(), textOf('topic-invitee')];
  await connectedClient().topics.invite(name, userId);
  setValue('topic-invitee', '');
  await showMembers(name);
  return `${userId} is now in ${name}.`;
}

export async function writeToTopic(): Promise<void> {
  const topic = shownName();
  const text = fieldValue('topic-text');
  if (text.trim() === '') throw new PageError('Write something first.');
  await connectedClient().send({ topic, type: 'chat', data: { text } });
  setValue('topic-text', '');
  stopTyping();
}

export function startTopic(): void {
  when('message', receive);
  when('opened', ({ client }) => {
    client.on('message:updated', onUpdated);
    client.on('message:removed', onRemoved);
  });
}
