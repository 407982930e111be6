import type { RequestHandler } from 'express';
import { AppError } from '../../utils/errors';
import { type Caller, holdsScope, type Scope } from '../../utils/jwt';
import { callerOf } from '../request';

/** Builds guards that want a scope; with `AUTHORIZATION=open` they let everyone with a token pass. */
export function createAuthorize(isOpen: boolean) {
  return (
    scope: Scope,
    isExempt: (caller: Caller, userId: string | undefined) => boolean = () => false,
  ): RequestHandler =>
    (request, _response, next) => {
      const caller = callerOf(request);
      const { userId } = request.params;
      const isAllowed =
        isOpen || holdsScope(caller, scope) || isExempt(caller, typeof userId === 'string' ? userId : undefined);
      if (!isAllowed) throw new AppError('insufficient_scope', `This needs a token with scope \`${scope}\`.`);
      next();
    };
}
