/** Spans, as an SDK receives them that is loaded as docs/operations/tracing.md says. */
import {
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { type Describe, inSpan } from '../../../services/observability/tracing';
import { StoreError } from '../../../services/storage/contract';
import { AppError } from '../../../utils/errors';
import { as, createTopic, sendTo } from '../../features/callers';
import { eventually } from '../../support/eventually';
import { startService, type TestService } from '../../support/service';
import { onTestEnd } from '../../support/temporary';
import { TRANSPORTS } from '../../support/transports';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const CALLER_SPAN_ID = 'b7ad6b7169203331';
const TRACEPARENT = `00-${TRACE_ID}-${CALLER_SPAN_ID}-01`;

/** Reads `traceparent` as the propagator of the W3C does, which is no package of this project. */
const propagator: TextMapPropagator = {
  fields: () => ['traceparent'],
  inject: () => {},
  extract: (active, carrier, getter) => {
    const [, traceId, spanId] = String(getter.get(carrier, 'traceparent') ?? '').split('-');
    if (traceId === undefined || spanId === undefined) return active;
    return trace.setSpanContext(active, { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
  },
};

const exporter = new InMemorySpanExporter();
let decision = SamplingDecision.RECORD_AND_SAMPLED;

function loadSdk(): void {
  const spanProcessors = [new SimpleSpanProcessor(exporter)];
  const sampler: Sampler = { shouldSample: () => ({ decision }), toString: () => 'as the test says' };
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors, sampler }));
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(propagator);
}

function named(spans: readonly ReadableSpan[], name: string): ReadableSpan[] {
  return spans.filter((span) => span.name === name);
}

/** The only span of this name; those of connections end later than what the client sees. */
async function onlySpan(name: string): Promise<ReadableSpan> {
  const spans = await eventually(
    async () => named(exporter.getFinishedSpans(), name),
    (found) => found.length > 0,
  );
  expect(spans).toHaveLength(1);
  return spans[0] as ReadableSpan;
}

const parentOf = (span: ReadableSpan) => span.parentSpanContext?.spanId;

it('without an SDK the work is called directly, and its attributes are dropped', async () => {
  const work = jest.fn(async (describe: Describe) => describe({ 'tidings.messages': 1 }));
  await inSpan('tidings.append', work);
  expect(work).toHaveBeenCalledTimes(1);
  expect(trace.getSpan(context.active())).toBeUndefined();
});

describe('with an SDK,', () => {
  beforeAll(loadSdk);

  beforeEach(() => {
    exporter.reset();
    decision = SamplingDecision.RECORD_AND_SAMPLED;
  });

  describe('a send', describeSends);
  describe('other spans', describeOthers);
});

function describeSends(): void {
  it('is a span in the trace of its request, above those of what is done for it', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    await client.next('sync:done');
    exporter.reset();
    const { body } = await service.api
      .post('/websocket/message/user')
      .set('traceparent', TRACEPARENT)
      .send({ userId: 'anna', type: 'secret-type', data: 'secret-data' })
      .expect(200);
    const send = await onlySpan('tidings.send');
    expect([send.spanContext().traceId, parentOf(send), send.kind]).toEqual([
      TRACE_ID,
      CALLER_SPAN_ID,
      SpanKind.PRODUCER,
    ]);
    expect(send.attributes).toEqual({
      'messaging.system': 'tidings',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.destination.template': '@{userId}',
      'messaging.message.id': (body as { id: string }).id,
      'tidings.destination.kind': 'user',
      'tidings.scheduled': false,
      'tidings.repeated': false,
    });
    const append = await onlySpan('tidings.append');
    const deliver = await onlySpan('tidings.deliver');
    for (const span of [append, deliver]) {
      expect([span.spanContext().traceId, parentOf(span)]).toEqual([TRACE_ID, send.spanContext().spanId]);
    }
    expect(deliver.attributes).toEqual({ 'tidings.connections': 1 });
    expect(exporter.getFinishedSpans()).toHaveLength(3);
  });

  it.each([
    ['to everyone', '/websocket/message/broadcast', '*', 'broadcast'],
    ['to a topic', '/topics/news/messages', '{topic}', 'topic'],
  ])('%s names the kind of its destination only', async (_what, path, template, kind) => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'anna' });
    await service.api.post(path).send({ type: 'test', data: 1 }).expect(200);
    expect((await onlySpan('tidings.send')).attributes).toMatchObject({
      'messaging.destination.template': template,
      'tidings.destination.kind': kind,
    });
  });

  it('reveals nothing about the sender, the recipients and the content', async () => {
    const service = await startService();
    const secret = 'secret-7d5f';
    const client = await service.connect(secret, { device: secret });
    await client.next('sync:done');
    const topic = `topic-${secret}`;
    await createTopic(service, topic, { owner: secret });
    await as(service, secret).post(`/topics/${topic}/messages`).send({ type: secret, data: secret }).expect(200);
    await sendTo(service.api, secret, { secret });
    await client.messages(2);
    const spans = exporter.getFinishedSpans();
    expect(named(spans, 'tidings.send')).toHaveLength(2);
    const told = spans.map(({ name, attributes, status, events }) => ({ name, attributes, status, events }));
    expect(JSON.stringify(told)).not.toContain(secret);
  });

  it.each(TRANSPORTS)('over %s begins a trace of its own', async (_name, connect) => {
    const service = await startService();
    const client = await connect(service, 'anna');
    await client.next('sync:done');
    exporter.reset();
    const event = { to: 'ben', topic_name: '@ben', type: 'test', data: 1 };
    expect(await client.call('message', event)).toMatchObject({ ok: true });
    const send = await onlySpan('tidings.send');
    expect(parentOf(send)).toBeUndefined();
    expect(parentOf(await onlySpan('tidings.append'))).toBe(send.spanContext().spanId);
  });

  it('that is scheduled, or repeated, says so', async () => {
    const service = await startService();
    const body = { userId: 'anna', type: 'test', data: 1 };
    await service.api
      .post('/websocket/message/user')
      .send({ ...body, delay: 60 })
      .expect(202);
    expect((await onlySpan('tidings.send')).attributes).toMatchObject({ 'tidings.scheduled': true });
    await sendTo(service.api, 'anna', 1, { id: 'known' });
    exporter.reset();
    await sendTo(service.api, 'anna', 1, { id: 'known' });
    expect((await onlySpan('tidings.send')).attributes).toMatchObject({ 'tidings.repeated': true });
    expect(named(exporter.getFinishedSpans(), 'tidings.deliver')).toEqual([]);
  });

  it('that is refused has the code as its error, and nothing of the request', async () => {
    const service = await startService();
    await sendTo(service.api, 'anna', 1, { id: 'known' });
    exporter.reset();
    const body = { userId: 'anna', type: 'test', data: 2, id: 'known' };
    await service.api.post('/websocket/message/user').send(body).expect(422);
    const send = await onlySpan('tidings.send');
    expect(send.status).toEqual({ code: SpanStatusCode.ERROR });
    expect(send.attributes['error.type']).toBe('idempotency_conflict');
    expect(send.events).toEqual([]);
  });

  it('stays below a span that an instrumentation of HTTP has begun', async () => {
    const service = await startServiceWithin('instrumented');
    await service.api
      .post('/websocket/message/user')
      .set('traceparent', TRACEPARENT)
      .send({ userId: 'anna', type: 'test', data: 1 })
      .expect(200);
    const outer = await onlySpan('instrumented');
    expect(parentOf(await onlySpan('tidings.send'))).toBe(outer.spanContext().spanId);
  });
}

/** Everything that this service answers, it answers inside a span, as with @opentelemetry/instrumentation-http. */
async function startServiceWithin(name: string): Promise<TestService> {
  const { Server } = jest.requireActual<typeof import('node:http')>('node:http');
  const { emit } = Server.prototype;
  const tracer = trace.getTracer('instrumentation');
  const traced = function (this: InstanceType<typeof Server>, ...args: [event: string, ...unknown[]]): boolean {
    if (args[0] !== 'request') return (emit as (...args: unknown[]) => boolean).apply(this, args);
    return tracer.startActiveSpan(name, (span: Span) => {
      (args[2] as NodeJS.WritableStream).once('finish', () => span.end());
      return (emit as (...args: unknown[]) => boolean).apply(this, args);
    });
  };
  Object.assign(Server.prototype, { emit: traced });
  onTestEnd(() => void Object.assign(Server.prototype, { emit }));
  return startService();
}

function describeOthers(): void {
  it.each(TRANSPORTS)('a catch-up over %s is a span with its size', async (_name, connect) => {
    const service = await startService();
    await service.send('anna', [1, 2]);
    const client = await connect(service, 'anna', { device: 'phone' });
    await client.next('sync:done');
    const span = await onlySpan('tidings.catch_up');
    expect(span.attributes).toEqual({
      'tidings.transport': _name === 'Socket.IO' ? 'socketio' : 'plain',
      // The personal topic, the one of everyone, and the log of states.
      'tidings.topics': 3,
      'tidings.messages': 2,
    });
  });

  it('a span that is not sampled leaves its children out too', async () => {
    decision = SamplingDecision.NOT_RECORD;
    const service = await startService();
    await service.send('anna', [1]);
    expect(exporter.getFinishedSpans()).toEqual([]);
  });

  it('a span of a failure has the code that callers receive', async () => {
    const fail = (error: unknown) => inSpan('tidings.append', () => Promise.reject(error));
    const errors = [new RangeError('secret'), new StoreError('secret'), new AppError('not_found', 'secret'), 'secret'];
    for (const error of errors) await expect(fail(error)).rejects.toBe(error);
    const types = exporter.getFinishedSpans().map(({ attributes }) => attributes['error.type']);
    expect(types).toEqual(['internal', 'store_unavailable', 'not_found', 'internal']);
  });
}
