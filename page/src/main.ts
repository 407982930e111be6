/** Wires the elements of page.html to what they do. */
import { keepAges } from './ages.ts';
import { showClaims, tickExpiry } from './claims.ts';
import { connect, disconnect, ping, switchOffline, useNewToken } from './connection.ts';
import { forgetAttempt, offerDevelopmentTokens } from './development.ts';
import { byId, setValue } from './dom.ts';
import { DEFAULT_SERVER, isServed, ownBase } from './fields.ts';
import { changeView, markAll, showOlder, startInbox } from './inbox.ts';
import { showLinks } from './links.ts';
import { clearLog, copyLog, filterLog, foldLog, followLog, pauseLog } from './log.ts';
import { startOnlineUsers } from './online-users.ts';
import { run } from './outcome.ts';
import { send, showOperation, startSendPanel } from './send-panel.ts';
import { notify, when } from './session.ts';
import { copyRequest, showRequest } from './snippet-box.ts';
import { showPrimary, showTokenButton } from './state.ts';
import { nameDevice } from './storage.ts';
import { startTabs } from './tabs.ts';
import { inviteToTopic, showEarlier, startTopic, writeToTopic } from './topic.ts';
import { createTopic, deleteTopic, joinTopic, leaveTopic, loadTopics, startTopics } from './topics.ts';
import { noticeTyping, startTyping, stopTyping } from './typing.ts';

type Handlers = Readonly<Record<string, () => unknown>>;

const EXPIRY_TICK_MS = 1_000;

const CLICKS: Handlers = {
  disconnect: () => {
    forgetAttempt();
    disconnect();
  },
  ping: () => run('connection-result', ping),
  'refresh-token': () => run('connection-result', useNewToken),
  'all-seen': () => run('inbox-result', () => markAll('seen')),
  'all-read': () => run('inbox-result', () => markAll('read')),
  'inbox-older': () => run('inbox-result', showOlder),
  'topics-reload': () => run('topics-result', loadTopics),
  'topic-join': () => run('topic-result', joinTopic),
  'topic-leave': () => run('topic-result', leaveTopic),
  'topic-delete': () => run('topics-result', deleteTopic),
  'history-older': () => run('topic-result', showEarlier),
  'copy-request': () => run('copy-result', copyRequest),
  'copy-log': () => run('log-result', copyLog),
  'clear-log': clearLog,
  'pause-log': pauseLog,
  'fold-log': foldLog,
};

const SUBMITS: Handlers = {
  connection: () => {
    forgetAttempt();
    connect();
  },
  'topic-create': () => run('topics-result', createTopic),
  'topic-write': () => run('topic-result', writeToTopic),
  'topic-invite': () => run('topic-result', inviteToTopic),
  send,
};

const CHANGES: Handlers = {
  offline: () => run('connection-result', switchOffline),
  'inbox-view': () => run('inbox-result', changeView),
  operation: showOperation,
  'send-as': showRequest,
  language: showRequest,
  'log-kind': filterLog,
};

const INPUTS: Handlers = {
  token: () => notify('fields'),
  'service-token': () => notify('fields'),
  'server-url': () => notify('fields'),
  'log-text': filterLog,
  'topic-text': noticeTyping,
};

function listenTo(type: string, handlers: Handlers): void {
  for (const [id, handle] of Object.entries(handlers)) {
    byId(id).addEventListener(type, (event) => {
      if (type === 'submit') event.preventDefault();
      handle();
    });
  }
}

/** The address bar is seen, shared and saved: a token must not stay there. */
function takeTokenFromAddress(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return;
  setValue('token', token);
  history.replaceState(null, '', location.pathname + location.search);
  notify('fields');
}

function startConnection(): void {
  when('fields', showClaims);
  when('fields', showTokenButton);
  when('fields', showLinks);
  offerDevelopmentTokens();
  byId('settings').addEventListener('toggle', showPrimary);
  window.addEventListener('hashchange', takeTokenFromAddress);
  setInterval(tickExpiry, EXPIRY_TICK_MS);
}

async function start(): Promise<void> {
  setValue('server-url', isServed() ? ownBase() : DEFAULT_SERVER);
  startConnection();
  startSendPanel();
  startInbox();
  startOnlineUsers();
  startTopics();
  startTopic();
  startTyping();
  startTabs();
  followLog();
  keepAges();
  listenTo('click', CLICKS);
  listenTo('submit', SUBMITS);
  listenTo('change', CHANGES);
  listenTo('input', INPUTS);
  byId('topic-text').addEventListener('blur', stopTyping);
  takeTokenFromAddress();
  notify('fields');
  setValue('device', await nameDevice());
}

void start();
