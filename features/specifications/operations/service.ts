/** Probes, metrics and specifications. */
import { z } from 'zod';
import { aliveAnswer, healthAnswer, readyAnswer } from '../../../utils/answers/service';
import type { Operation } from './operation';

export const SERVICE: readonly Operation[] = [
  {
    route: 'GET /livez',
    id: 'isAlive',
    tag: 'Service',
    summary: 'Is the process alive?',
    scope: 'public',
    answers: { 200: { description: 'It is.', schema: aliveAnswer } },
  },
  {
    route: 'GET /readyz',
    id: 'isReady',
    tag: 'Service',
    summary: 'Can messages be stored?',
    scope: 'public',
    answers: {
      200: { description: 'A small write reached the disk.', schema: readyAnswer },
      503: {
        description: 'The store cannot be written, memory is short, or the service is stopping.',
        schema: readyAnswer,
      },
    },
  },
  {
    route: 'GET /healthz',
    id: 'getHealth',
    tag: 'Service',
    summary: 'Like /readyz, with the uptime',
    scope: 'public',
    answers: {
      200: { description: 'A small write reached the disk.', schema: healthAnswer },
      503: {
        description: 'The store cannot be written, memory is short, or the service is stopping.',
        schema: healthAnswer,
      },
    },
  },
  {
    route: 'GET /metrics',
    id: 'getMetrics',
    tag: 'Service',
    summary: 'Metrics',
    scope: 'public',
    answers: { 200: { description: 'In the Prometheus text format.', type: 'text/plain' } },
  },
  {
    route: 'GET /openapi.json',
    id: 'getOpenApi',
    tag: 'Service',
    summary: 'This document',
    scope: 'public',
    answers: { 200: { description: 'OpenAPI 3.1.', schema: z.record(z.string(), z.unknown()) } },
  },
  {
    route: 'GET /asyncapi.json',
    id: 'getAsyncApi',
    tag: 'Service',
    summary: 'The sockets, as AsyncAPI',
    scope: 'public',
    answers: { 200: { description: 'AsyncAPI 3.0.', schema: z.record(z.string(), z.unknown()) } },
  },
];
