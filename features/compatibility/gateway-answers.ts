/** Answers of the gateway's paths. */
import { z } from 'zod';
import { count, nextCursor, sentence, success, userId, warnings } from '../../utils/answers/common';

export const gatewaySentAnswer = z
  .union([
    z.object({ success: z.literal(true), message: sentence, warnings }),
    z.object({
      success: z.literal(false),
      message: sentence,
      stored: z.literal(true).meta({ description: 'Nobody got it now; it waits for the user.' }),
      id: z.string(),
      warnings,
    }),
  ])
  .meta({ id: 'GatewaySent', examples: [{ success: true, message: 'Message sent to user user123' }] });

export const gatewaySentManyAnswer = z.object({ success, message: sentence, userIds: z.array(userId), warnings }).meta({
  id: 'GatewaySentMany',
  examples: [{ success: true, message: 'Message sent to 2 users', userIds: ['user123', 'user456'] }],
});

export const gatewayStatusAnswer = z
  .object({ userId, connected: z.boolean() })
  .meta({ id: 'GatewayStatus', examples: [{ userId: 'user123', connected: true }] });

export const gatewayConnectedAnswer = z
  .object({ connectedUsers: z.array(userId), count, nextCursor })
  .meta({ id: 'GatewayConnected', examples: [{ connectedUsers: ['user123'], count: 1, nextCursor: null }] });

export const gatewayStatsAnswer = z
  .object({ connectedUsers: count, userIds: z.array(userId), sockets: count, uptimeSeconds: count, nextCursor })
  .meta({
    id: 'GatewayStats',
    examples: [{ connectedUsers: 1, userIds: ['user123'], sockets: 2, uptimeSeconds: 60, nextCursor: null }],
  });
