/** Adds members to a topic: the caller, another user, or many at once. */
import { describeFailure } from '../services/observability/describe-failure';
import type { Caller } from '../utils/caller';
import { addMemberSchema, parseInput } from '../utils/schemas';
import type { TopicAccess } from './topic-access';

export interface JoinedAnswer {
  readonly name: string;
  readonly userId: string;
}

type InviteResult =
  | { readonly userId: string }
  | { readonly userId: string; readonly error: { readonly code: string; readonly detail: string } };

export interface Adding {
  readonly body: unknown;
  /** Counts rows that will be written. @throws AppError `rate_limited` */
  readonly charge: (rows: number) => Promise<void>;
}

export interface AddMemberParts {
  readonly access: Pick<TopicAccess, 'visible'>;
  readonly join: (caller: Caller, input: unknown) => Promise<JoinedAnswer>;
  readonly invite: (caller: Caller, input: unknown) => Promise<JoinedAnswer>;
}

const INVITED_AT_ONCE = 20;

export function createAddMember({ access, join, invite }: AddMemberParts) {
  /**
   * An empty body adds the caller, `{userId}` one user, `{userIds}` many; each counts against the rate of the caller.
   */
  return async function addMember(caller: Caller, name: string, { body, charge }: Adding): Promise<object> {
    const { userId, userIds } = parseInput(addMemberSchema, body);
    if (userIds === undefined) return addOne(caller, name, userId);
    const unique = [...new Set(userIds)];
    await charge(unique.length);
    return { results: await addAll(caller, name, unique) };
  };

  /**
   * Each fails alone; a caller who may add nobody is refused as a whole. A few at a time, so that others are served
   * meanwhile.
   */
  async function addAll(caller: Caller, name: string, userIds: readonly string[]): Promise<InviteResult[]> {
    await access.visible(caller, name);
    const rest = [...userIds];
    const results: InviteResult[] = [];
    while (rest.length > 0) {
      const part = rest.splice(0, INVITED_AT_ONCE);
      const added = await Promise.allSettled(part.map((userId) => addOne(caller, name, userId)));
      results.push(...added.map((one, index) => toInviteResult(part[index] ?? '', one)));
    }
    return results;
  }

  function addOne(caller: Caller, name: string, userId: string | undefined): Promise<JoinedAnswer> {
    return userId === undefined || userId === caller.userId ? join(caller, { name }) : invite(caller, { name, userId });
  }
}

function toInviteResult(userId: string, added: PromiseSettledResult<unknown>): InviteResult {
  if (added.status === 'fulfilled') return { userId };
  const { code, message } = describeFailure(added.reason);
  return { userId, error: { code, detail: message } };
}
