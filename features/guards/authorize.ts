import type { RequestHandler } from 'express';
import { type Caller, holdsScope, type Scope } from '../../utils/caller';
import { AppError } from '../../utils/errors';
import { callerOf } from '../request';

/** Requires a scope, unless the caller is exempt. Answers 403 `insufficient_scope`. */
export function authorize(
  scope: Scope,
  isExempt: (caller: Caller, userId: string | undefined) => boolean = () => false,
): RequestHandler {
  return (request, _response, next) => {
    const caller = callerOf(request);
    const { userId } = request.params;
    if (!holdsScope(caller, scope) && !isExempt(caller, typeof userId === 'string' ? userId : undefined)) {
      throw new AppError('insufficient_scope', `This needs a token with scope \`${scope}\`.`);
    }
    next();
  };
}
