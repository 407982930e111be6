/** Each route in the OpenAPI document: the tables of routes say how it is answered. */
import { GATEWAY } from '../../compatibility/gateway-specification';
import { AUDIT } from './audit';
import { INBOX } from './inbox';
import { MESSAGES } from './messages';
import type { Operation } from './operation';
import { SCHEDULED } from './scheduled';
import { SENDING } from './sending';
import { SERVICE } from './service';
import { TOPICS } from './topics';
import { USERS } from './users';

/** In the order in which docs/reference/http.md has them. */
export const OPERATIONS: readonly Operation[] = [
  ...SENDING,
  ...INBOX,
  ...MESSAGES,
  ...SCHEDULED,
  ...USERS,
  ...AUDIT,
  ...TOPICS,
  ...GATEWAY,
  ...SERVICE,
];
