/**
 * Spans for whoever loads an OpenTelemetry SDK; without one every call here ends in the work itself. This is the one
 * door to @opentelemetry/api. Spans name neither users nor private topics, and never carry what a message says:
 * docs/operations/tracing.md has all attributes.
 */
import type { IncomingHttpHeaders } from 'node:http';
import {
  type Attributes,
  context,
  INVALID_TRACEID,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { destinationOf } from '../../utils/topic-names';
import { describeFailure } from './describe-failure';

export type SpanName = 'tidings.send' | 'tidings.append' | 'tidings.deliver' | 'tidings.catch_up';

/** Gives the span what is known only later. */
export type Describe = (attributes: Attributes) => void;

/** Finds an SDK whenever it is loaded, also after this file. */
const tracer = trace.getTracer('tidings');
const nothing: Describe = () => {};
const TEMPLATES = { user: '@{userId}', topic: '{topic}', broadcast: '*' } as const;

/**
 * Does the work inside a span, which ends with it. A failure is told by its code: the words of an error may quote its
 * input.
 */
export function inSpan<Result>(
  name: SpanName,
  work: (describe: Describe) => Promise<Result>,
  kind = SpanKind.INTERNAL,
): Promise<Result> {
  const span = tracer.startSpan(name, { kind });
  // Without an SDK nobody will ever read it. One that is only not sampled has a valid context.
  if (span.spanContext().traceId === INVALID_TRACEID) return work(nothing);
  return context.with(trace.setSpan(context.active(), span), () => finish(span, work));
}

async function finish<Result>(span: Span, work: (describe: Describe) => Promise<Result>): Promise<Result> {
  try {
    return await work((attributes) => void span.setAttributes(attributes));
  } catch (error) {
    span.setAttribute('error.type', describeFailure(error).code);
    span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
}

/** The span of one message on its way into a log, or to where it waits: what a sender does in the words of messaging. */
export function inSendSpan<Result>(topic: string, work: (describe: Describe) => Promise<Result>): Promise<Result> {
  const sending = (describe: Describe) => {
    describe({
      'messaging.system': 'tidings',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.destination.template': TEMPLATES[destinationOf(topic)],
      'tidings.destination.kind': destinationOf(topic),
    });
    return work(describe);
  };
  return inSpan('tidings.send', sending, SpanKind.PRODUCER);
}

/** Goes on with the trace that a request names in its headers, unless an instrumentation has read them already. */
export function continueTrace<Result>(headers: IncomingHttpHeaders, work: () => Result): Result {
  const active = context.active();
  if (trace.getSpan(active) !== undefined) return work();
  return context.with(propagation.extract(active, headers), work);
}
