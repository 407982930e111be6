/** Parameters of paths. */
import type { z } from 'zod';
import { messageIdSchema, topicNameSchema, userIdSchema } from '../../utils/schemas';

const PATH_PARAMETERS: Readonly<Record<string, { schema: z.ZodType; example: string }>> = {
  id: { schema: messageIdSchema, example: 'order-1' },
  name: { schema: topicNameSchema, example: 'news' },
  userId: { schema: userIdSchema, example: 'user123' },
};

export function pathParameters(route: string): { name: string; schema: z.ZodType; example: string }[] {
  return Array.from(route.matchAll(/:(\w+)/g), ([, name = '']) => {
    const parameter = PATH_PARAMETERS[name];
    if (parameter === undefined) throw new Error(`The parameter ${name} of ${route} is not described.`);
    return { name, ...parameter };
  });
}
