/** /audit: who did what. */
import type { AuditOperations } from '../handlers/audit';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import type { Route } from './routes';

export function auditRoutes(audit: AuditOperations, { authenticated, authorize, readInTurn }: Guards): Route[] {
  return [
    {
      method: 'get',
      path: '',
      handlers: [
        ...authenticated,
        authorize('admin'),
        readInTurn(async (request, response) => answer(response, await audit.list(request.query))),
      ],
    },
  ];
}
