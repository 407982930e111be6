/** Answers of the probes. */
import { z } from 'zod';
import { count, reach } from './common';

export const aliveAnswer = z.object({ status: z.literal('ok') }).meta({ id: 'Alive', examples: [{ status: 'ok' }] });

const ready = {
  status: z.enum(['ok', 'unavailable', 'overloaded', 'stopping']),
  store: z.enum(['ok', 'unavailable']),
  live: reach.live,
};

export const readyAnswer = z
  .object(ready)
  .meta({ id: 'Readiness', examples: [{ status: 'ok', store: 'ok', live: 'ok' }] });

export const healthAnswer = z
  .object({ ...ready, uptimeSeconds: count })
  .meta({ id: 'Health', examples: [{ status: 'ok', store: 'ok', live: 'ok', uptimeSeconds: 60 }] });
