/** The fields of the send panel. */

export type FieldKind = 'text' | 'list' | 'json' | 'number' | 'choice' | 'check' | 'unless';

export interface FieldSpec {
  readonly label: string;
  /** `text` when absent. `check` sends `true`, `unless` sends `false`, when they are checked. */
  readonly kind?: FieldKind;
  /** The name under which it is sent, if not that of the field. */
  readonly name?: string;
  readonly value?: string;
  readonly choices?: readonly string[];
  readonly isWide?: boolean;
}

/** Every field by the name that operations know it by. */
export const FIELDS: Readonly<Record<string, FieldSpec>> = {
  userId: { label: 'User id' },
  member: { label: 'User id (empty: join yourself)', name: 'userId' },
  userIds: { label: 'User ids, comma separated', kind: 'list', value: 'user123, user456' },
  to: { label: 'User id', value: 'user456' },
  type: { label: 'Type', value: 'chat' },
  data: { label: 'Data (JSON)', kind: 'json', value: '{"message": "Hello"}' },
  title: { label: 'Title', isWide: true, value: 'Your order has shipped' },
  body: { label: 'Body', isWide: true, value: 'It arrives on Monday.' },
  extra: { label: 'More data (JSON object, optional)', kind: 'json', name: 'data' },
  topic: { label: 'Topic', value: 'news' },
  topicName: { label: 'Name', name: 'name', value: 'news' },
  isPrivate: { label: 'Private', kind: 'check' },
  messages: {
    label: 'Messages (JSON array)',
    kind: 'json',
    value:
      '[\n  {"userId": "user123", "type": "invoice", "data": {"number": 1}},\n  {"userId": "user456", "type": "invoice", "data": {"number": 2}, "delay": 60}\n]',
  },
  event: { label: 'Event', value: 'offer' },
  message: { label: 'Message (JSON)', kind: 'json', value: '{"price": 10}' },
  id: { label: 'Message id' },
  ids: { label: 'Message ids, comma separated', kind: 'list' },
  state: { label: 'State', kind: 'choice', choices: ['seen', 'read', 'unread', 'archived'] },
  shownState: { label: 'State', kind: 'choice', choices: ['', 'unread', 'read', 'archived'], name: 'state' },
  ofTopic: { label: 'Topic (optional)', name: 'topic' },
  upTo: { label: 'Up to seq', kind: 'number' },
  all: { label: 'The whole inbox', kind: 'check' },
  limit: { label: 'Limit', kind: 'number' },
  cursor: { label: 'Cursor' },
  after: { label: 'After seq', kind: 'number' },
  before: { label: 'Before seq', kind: 'number' },
  from: { label: 'Sender (administrators only)' },
  laterIn: { label: 'Delay in seconds', kind: 'number', name: 'delay', value: '60' },
  text: { label: 'Text', value: 'Hello' },
  issuedBefore: { label: 'Issued before (ISO 8601; empty: all so far)' },
  jti: { label: 'jti, of one token only' },
  actor: { label: 'Actor (sub of the token)' },
  action: { label: 'Action, such as send or erase' },
  since: { label: 'Since (ISO 8601)' },
};

/** The options of a send; their fields are the same for each of them. */
export const OPTIONS: Readonly<Record<string, FieldSpec>> = {
  id: { label: 'id: your own, makes the send idempotent' },
  ttl: { label: 'ttl: seconds', kind: 'number' },
  expiresAt: { label: 'expiresAt: time with zone' },
  delay: { label: 'delay: seconds', kind: 'number' },
  sendAt: { label: 'sendAt: time with zone' },
  collapseKey: { label: 'collapseKey' },
  event: { label: 'event: instead of message' },
  exceptUserId: { label: 'exceptUserId' },
  persist: { label: 'Live only (persist: false)', kind: 'unless' },
  idempotencyKey: { label: 'Header Idempotency-Key' },
};
