/** The operations of the send panel: every route of the reference, and the events a client sends. */
import { OPTIONS } from './field-specs.ts';

export interface Operation {
  readonly label: string;
  /** Method and path; absent for an event. */
  readonly request?: string;
  /** The event of an operation over the socket. */
  readonly emit?: string;
  readonly scope?: string;
  readonly fields: readonly string[];
  /** Does it take the options of a send? */
  readonly options?: boolean;
  /** Does it take an Idempotency-Key? As `options` when absent. */
  readonly key?: boolean;
  readonly as?: 'own';
  readonly isPublic?: boolean;
  /** It cannot be undone: the page asks first. */
  readonly isFinal?: boolean;
}

/**
 * Every operation: its name, its request, the scope it needs, its fields. Fields that the path names go there; the
 * others into the body, or the query if there is no body. `as: 'own'`: about the user.
 */
export const OPERATIONS: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
  Send: {
    notification: {
      label: 'A notification',
      request: 'POST /websocket/notification',
      scope: 'send',
      fields: ['userId', 'title', 'body', 'extra'],
      options: true,
    },
    user: {
      label: 'A message to a user',
      request: 'POST /websocket/message/user',
      scope: 'send',
      fields: ['userId', 'type', 'data'],
      options: true,
    },
    users: {
      label: 'A message to several users',
      request: 'POST /websocket/message/users',
      scope: 'send',
      fields: ['userIds', 'type', 'data'],
      options: true,
    },
    broadcast: {
      label: 'A broadcast to everyone',
      request: 'POST /websocket/message/broadcast',
      scope: 'broadcast',
      fields: ['type', 'data'],
      options: true,
    },
    topic: {
      label: 'A message to a topic',
      request: 'POST /topics/:topic/messages',
      scope: 'send, or membership of the topic',
      fields: ['topic', 'type', 'data'],
      options: true,
    },
    batch: { label: 'A batch', request: 'POST /messages/batch', scope: 'send', fields: ['messages'], key: true },
    later: {
      label: 'A message with a delay',
      request: 'POST /websocket/message/user',
      scope: 'send',
      fields: ['userId', 'type', 'data', 'laterIn'],
      options: true,
    },
  },
  'Over the socket': {
    direct: { label: 'A direct message', emit: 'message', fields: ['to', 'type', 'data'], options: true },
    'topic-socket': {
      label: 'A message to a topic I am in',
      emit: 'message',
      fields: ['topic', 'type', 'data'],
      options: true,
    },
    history: { label: 'History', emit: 'history', fields: ['topic', 'after', 'before', 'limit'] },
    'state-socket': { label: 'Mark messages', emit: 'state', fields: ['state', 'ids', 'ofTopic', 'upTo', 'all'] },
    logout: { label: 'Log this device out', emit: 'logout', fields: [] },
  },
  Inbox: {
    inbox: {
      label: 'List the inbox',
      request: 'GET /inbox',
      as: 'own',
      fields: ['shownState', 'type', 'ofTopic', 'limit', 'cursor'],
    },
    counts: { label: 'Counts', request: 'GET /inbox/counts', as: 'own', fields: [] },
    mark: { label: 'Mark one message', request: 'PATCH /inbox/:id', as: 'own', fields: ['id', 'state'] },
    'mark-several': {
      label: 'Mark several messages',
      request: 'PATCH /inbox',
      as: 'own',
      fields: ['state', 'ids', 'ofTopic', 'upTo', 'all'],
    },
  },
  'Sent messages': {
    receipts: { label: 'Receipts', request: 'GET /messages/:id/receipts', fields: ['id', 'limit', 'cursor', 'from'] },
    update: { label: 'Replace the data', request: 'PATCH /messages/:id', fields: ['id', 'data'] },
    retract: { label: 'Retract a message', request: 'DELETE /messages/:id', fields: ['id', 'from'] },
    scheduled: {
      label: 'List scheduled messages',
      request: 'GET /scheduled',
      scope: 'send',
      fields: ['limit', 'cursor'],
    },
    cancel: {
      label: 'Cancel a scheduled message',
      request: 'DELETE /scheduled/:id',
      scope: 'send',
      fields: ['id', 'from'],
    },
  },
  Topics: {
    'topic-list': { label: 'List topics', request: 'GET /topics', as: 'own', fields: [] },
    'topic-create': { label: 'Create a topic', request: 'POST /topics', as: 'own', fields: ['topicName', 'isPrivate'] },
    'topic-one': { label: 'One topic', request: 'GET /topics/:topic', as: 'own', fields: ['topic'] },
    members: { label: 'Members of a topic', request: 'GET /topics/:topic/members', as: 'own', fields: ['topic'] },
    join: { label: 'Join or invite', request: 'POST /topics/:topic/members', as: 'own', fields: ['topic', 'member'] },
    leave: {
      label: 'Leave or remove',
      request: 'DELETE /topics/:topic/members/:userId',
      as: 'own',
      fields: ['topic', 'userId'],
    },
    messages: {
      label: 'History of a topic',
      request: 'GET /topics/:topic/messages',
      as: 'own',
      fields: ['topic', 'after', 'before', 'limit'],
    },
    'topic-delete': {
      label: 'Delete a topic',
      request: 'DELETE /topics/:topic',
      as: 'own',
      fields: ['topic'],
      isFinal: true,
    },
  },
  Users: {
    connected: {
      label: 'Who is connected',
      request: 'GET /websocket/users/connected',
      scope: 'presence',
      fields: ['limit', 'cursor'],
    },
    status: {
      label: 'Status of a user',
      request: 'GET /websocket/users/:userId/status',
      scope: 'presence',
      fields: ['userId'],
    },
    me: { label: 'My status', request: 'GET /websocket/me/status', as: 'own', fields: [] },
    disconnect: {
      label: 'Disconnect a user',
      request: 'DELETE /websocket/users/:userId/disconnect',
      scope: 'admin',
      fields: ['userId'],
    },
    revoke: {
      label: 'Revoke the tokens of a user',
      request: 'POST /users/:userId/revoke',
      scope: 'admin',
      fields: ['userId', 'issuedBefore', 'jti'],
      isFinal: true,
    },
    export: {
      label: 'Export the data of a user',
      request: 'GET /users/:userId/export',
      scope: 'admin',
      fields: ['userId'],
    },
    erase: {
      label: 'Erase the data of a user',
      request: 'DELETE /users/:userId/data',
      scope: 'admin',
      fields: ['userId'],
      isFinal: true,
    },
    audit: {
      label: 'The audit log: who did what',
      request: 'GET /audit',
      scope: 'admin',
      fields: ['actor', 'action', 'since', 'limit', 'cursor'],
    },
  },
  Gateway: {
    'gateway-send': {
      label: 'Send an event',
      request: 'POST /api/gateway/send',
      scope: 'send',
      fields: ['userId', 'event', 'message'],
      key: true,
    },
    'gateway-many': {
      label: 'Send an event to several users',
      request: 'POST /api/gateway/send-many',
      scope: 'send',
      fields: ['userIds', 'event', 'message'],
      key: true,
    },
    'gateway-status': {
      label: 'Status of a user',
      request: 'GET /api/gateway/status/:userId',
      scope: 'presence',
      fields: ['userId'],
    },
    'gateway-connected': {
      label: 'Who is connected',
      request: 'GET /api/gateway/connected',
      scope: 'presence',
      fields: [],
    },
    'gateway-stats': { label: 'Statistics', request: 'GET /api/gateway/stats', scope: 'presence', fields: [] },
  },
  Probes: {
    livez: { label: 'Alive?', request: 'GET /livez', isPublic: true, fields: [] },
    readyz: { label: 'Ready?', request: 'GET /readyz', isPublic: true, fields: [] },
    healthz: { label: 'Health', request: 'GET /healthz', isPublic: true, fields: [] },
    metrics: { label: 'Metrics', request: 'GET /metrics', isPublic: true, fields: [] },
  },
  Specifications: {
    openapi: { label: 'OpenAPI', request: 'GET /openapi.json', isPublic: true, fields: [] },
    asyncapi: { label: 'AsyncAPI', request: 'GET /asyncapi.json', isPublic: true, fields: [] },
  },
};

const byName = new Map(Object.values(OPERATIONS).flatMap((group) => Object.entries(group)));

export function operationOf(name: string): Operation {
  const operation = byName.get(name);
  if (operation === undefined) throw new Error(`there is no operation ${name}`);
  return operation;
}

export function takesKey({ options = false, key = options, emit }: Operation): boolean {
  return key && emit === undefined;
}

/** The options that an operation takes, beside its own fields. */
export function optionsOf({ options = false, request, fields }: Operation): string[] {
  if (!options) return [];
  return Object.keys(OPTIONS).filter((name) => {
    if (name === 'idempotencyKey') return false;
    if (name === 'id') return request !== 'POST /websocket/message/users';
    return !(name === 'delay' && fields.includes('laterIn'));
  });
}
