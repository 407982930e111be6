/** The words of the audit log: what is recorded, and how it ended. */

/** Sends by services, and what services do with what they have sent. */
export const SERVICE_ACTIONS = ['send', 'broadcast', 'batch', 'schedule', 'update', 'retract', 'cancel'] as const;
export type ServiceAction = (typeof SERVICE_ACTIONS)[number];

/** Only scope `admin` allows these. */
export const ADMIN_ACTIONS = ['disconnect', 'revoke', 'erase', 'export', 'delete_topic'] as const;
export type AdminAction = (typeof ADMIN_ACTIONS)[number];

/** What the service does by itself; the actor is the user it concerns. */
export const OWN_ACTIONS = ['drop'] as const;

export const AUDIT_ACTIONS = [...SERVICE_ACTIONS, ...ADMIN_ACTIONS, ...OWN_ACTIONS] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** `begun`: the end was not recorded; it may have been carried out, fully, in part, or not at all. */
export const AUDIT_OUTCOMES = ['begun', 'done', 'failed'] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];
