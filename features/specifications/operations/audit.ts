/** The route of the audit log. */
import { auditAnswer } from '../../../utils/answers/audit';
import { auditQuerySchema } from '../../../utils/schemas';
import { type Operation, READS } from './operation';

export const AUDIT: readonly Operation[] = [
  {
    route: 'GET /audit',
    id: 'listAudit',
    tag: 'Audit',
    summary: 'What services and administrators did, newest first',
    description: 'Sends of other nodes appear within a second. Entries are kept for `AUDIT_RETENTION_DAYS`.',
    scope: 'admin',
    query: auditQuerySchema,
    answers: { 200: { description: 'A page.', schema: auditAnswer } },
    problems: READS,
  },
];
