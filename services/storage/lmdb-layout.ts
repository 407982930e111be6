/**
 * The trees of the embedded store, in one environment:
 * `messages` [topic, seq] → the message as JSON; `topics` topic → {head, prunedUpTo};
 * `ids` [from, client-made id] → [topic, seq]; `cursors` [userId, device, topic] → seq;
 * `users` userId → User; `named` topic → Topic; `members` [topic, userId] → time of joining;
 * `memberships` [userId, topic] → seq at which the user joined; `meta` name → value.
 */
export const DATABASES = [
  { name: 'messages', encoding: 'string' },
  { name: 'topics', encoding: 'json' },
  { name: 'ids', encoding: 'json' },
  { name: 'cursors', encoding: 'json' },
  { name: 'users', encoding: 'json' },
  { name: 'named', encoding: 'json' },
  { name: 'members', encoding: 'json' },
  { name: 'memberships', encoding: 'json' },
  { name: 'meta', encoding: 'json' },
] as const;

export type DatabaseName = (typeof DATABASES)[number]['name'];

/** Grows with every change of the layout that older code cannot read. */
export const LAYOUT_VERSION = 1;
