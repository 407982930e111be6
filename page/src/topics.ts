/** The list of topics, and which one is open. */
import type { Topic } from '../../client/src/index.ts';
import { byId, h, inputOf, setValue, textOf } from './dom.ts';
import { run } from './outcome.ts';
import { PageError } from './page-error.ts';
import { callOwn } from './rest.ts';
import { connectedClient, isOnline, type Session, shownUser, when } from './session.ts';
import { showTopic } from './topic.ts';

let topics: readonly Topic[] = [];
/** The name of the topic that is open. */
let selected: string | undefined;

function clear(): void {
  topics = [];
  void open(undefined);
}

export async function loadTopics(): Promise<void> {
  topics = await connectedClient().topics.list();
  drawTopics();
}

function drawTopics(): void {
  byId('topics').hidden = topics.length === 0;
  byId('topics-empty').hidden = topics.length > 0;
  byId('topics-empty').textContent =
    shownUser() === undefined
      ? 'Connect to see your topics and the public ones.'
      : 'No topics yet. Create one, and join it as another user in a second tab.';
  const focused = document.activeElement?.closest<HTMLElement>('#topics li')?.dataset['topic'];
  byId('topics').replaceChildren(...topics.map(rowOf));
  if (focused === undefined) return;
  document.querySelector<HTMLElement>(`#topics [data-topic="${CSS.escape(focused)}"] button`)?.focus();
}

function rowOf({ name, isPrivate, isMember }: Topic): HTMLElement {
  const button = h('button', {
    type: 'button',
    class: 'name',
    click: () => void run('topic-result', () => open(name)),
    'aria-current': name === selected ? 'true' : undefined,
  });
  button.append(name);
  const row = h('li', { 'data-topic': name }, button);
  if (isPrivate) row.append(h('span', { class: 'chip' }, 'private'));
  if (isMember) row.append(h('span', { class: 'chip' }, 'joined'));
  return row;
}

async function open(name: string | undefined): Promise<void> {
  const topic = topics.find((known) => known.name === name);
  selected = topic?.name;
  drawTopics();
  await showTopic(topic);
}

/** @throws PageError when no topic is open. */
function selectedName(): string {
  if (selected === undefined) throw new PageError('Choose a topic first.');
  return selected;
}

export async function createTopic(): Promise<string> {
  const isPrivate = inputOf('topic-private').checked;
  const { name } = await connectedClient().topics.create(textOf('topic-name'), { isPrivate });
  setValue('topic-name', '');
  await loadTopics();
  await open(name);
  return `Created ${name}.`;
}

export async function joinTopic(): Promise<string> {
  const name = selectedName();
  await connectedClient().topics.join(name);
  return reload(`Joined ${name}.`);
}

export async function leaveTopic(): Promise<string> {
  const name = selectedName();
  await connectedClient().topics.leave(name);
  return reload(`Left ${name}.`);
}

export async function deleteTopic(): Promise<string> {
  const name = selectedName();
  if (!window.confirm(`Delete the topic ${name} for everybody?`)) return '';
  await callOwn('DELETE', `/topics/${encodeURIComponent(name)}`);
  return reload(`Deleted ${name}.`);
}

async function reload(sentence: string): Promise<string> {
  await loadTopics();
  await open(selected);
  // The button that was pressed may be gone.
  if (byId('topic').hidden) byId('topics-reload').focus();
  else if (document.activeElement === document.body) byId('topic-title').focus();
  return sentence;
}

/** A message of a topic that is not listed as joined: an invitation that was missed. */
function noticeTopic(topic: string, { isSynced }: Session): void {
  const isNamed = topic !== '*' && !topic.startsWith('@');
  const isKnown = topics.some(({ name, isMember }) => name === topic && isMember);
  if (isNamed && isSynced && !isKnown) void run('topics-result', loadTopics);
}

export function startTopics(): void {
  when('user', clear);
  when('opened', ({ client }) => client.on('topic:joined', () => void run('topics-result', loadTopics)));
  when('online', () => void run('topics-result', loadTopics));
  when('synced', () => {
    if (selected !== undefined && isOnline()) void run('topic-result', () => open(selected));
  });
  when('message', ({ topic }, session) => noticeTopic(topic, session));
  drawTopics();
}
