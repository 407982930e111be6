/**
 * Spans for processes that load an OpenTelemetry SDK; without one every call here just does the work. The one door to
 * @opentelemetry/api. Spans name neither users nor private topics, and never carry the content of a message:
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

/** Adds attributes that are known only later. */
export type Describe = (attributes: Attributes) => void;

/** Finds an SDK whenever it is loaded, even after this file. */
const tracer = trace.getTracer('tidings');
const nothing: Describe = () => {};
const TEMPLATES = { user: '@{userId}', topic: '{topic}', broadcast: '*' } as const;

/**
 * Does the work inside a span, which ends with it. A failure is recorded by its code, because the message of an error
 * may quote its input.
 */
export function inSpan<Result>(
  name: SpanName,
  work: (describe: Describe) => Promise<Result>,
  kind = SpanKind.INTERNAL,
): Promise<Result> {
  const span = tracer.startSpan(name, { kind });
  // Without an SDK nothing reads it. A span that is merely not sampled has a valid context.
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

/** The span of one message on its way into a log or the schedule, with the attributes of the messaging conventions. */
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

/** Continues the trace that a request names in its headers, unless an instrumentation has already read them. */
export function continueTrace<Result>(headers: IncomingHttpHeaders, work: () => Result): Result {
  const active = context.active();
  if (trace.getSpan(active) !== undefined) return work();
  return context.with(propagation.extract(active, headers), work);
}
