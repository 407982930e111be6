/** Random packets at the Socket.IO endpoint. */
import fc from 'fast-check';
import type { Reply } from '../../utils/protocol';
import { AsyncApi } from '../support/asyncapi';
import { exchange } from '../support/http';
import { anyBytes, anyText, damaged, hostile, type JsonSchema, mutated, TOPICS, USERS, valuesOf } from './inputs';
import { isLasting, readProblem, shareTarget } from './target';
import { type Piece, Wire } from './wire';

const target = shareTarget();
const WEBSOCKET = '/socket.io/?EIO=4&transport=websocket';
const POLLING = '/socket.io/?EIO=4&transport=polling';
const LANES = 6;
/** The acknowledgement id of a connection's first input; damaged packets have small ones. */
const FIRST = 1_000_000;
/** That of the ping that follows all. */
const LAST = 999_999_999;
const LAST_ANSWER = `43${LAST}[`;

/** An event as a client library would write it, however little sense it makes. */
interface Event {
  readonly kind: 'event';
  readonly name: unknown;
  /** What follows the name. */
  readonly args: readonly unknown[];
  readonly isAcknowledged: boolean;
}

interface BinaryEvent {
  readonly kind: 'binary';
  readonly name: string;
  readonly fields: object;
  readonly bytes: string;
}

/** Something else: a text frame, a frame of bytes or bytes that are no frame. */
interface Other {
  readonly kind: 'text' | 'bytes' | 'raw';
  /** Bytes as hexadecimal digits. */
  readonly text: string;
}

type Input = Event | BinaryEvent | Other;

/** The inputs of one connection: events, and at the end perhaps what no client would send. */
interface Lane {
  readonly userId: string;
  readonly events: readonly (Event | BinaryEvent)[];
  readonly last: readonly Other[];
}

const WITHOUT_PAYLOAD = ['ping', 'topic:list', 'presence:subscribe', 'presence:unsubscribe'];

function eventInputs(api: AsyncApi): fc.Arbitrary<Event | BinaryEvent> {
  const resolve = (reference: string) => api.resolve(reference);
  const isAcknowledged = fc.integer({ min: 0, max: 19 }).map((n) => n > 0);
  const payloads = new Map<string, fc.Arbitrary<unknown>>(
    api.names('client').map((name) => [name, valuesOf(api.requestSchema(name) as JsonSchema, resolve)]),
  );
  payloads.delete('logout');
  payloads.set('auth:refresh', fc.record({ token: fc.constantFrom('a.b.c', 'x', '') }));
  payloads.set('ack', fc.record({ topic: fc.constantFrom('@fuzz-0', '*'), seq: fc.nat(2) }));
  const names = [...payloads.keys()];
  const named = (name: string, payload: fc.Arbitrary<unknown>) =>
    fc.record({
      kind: fc.constant('event' as const),
      name: fc.constant(name),
      args: fc.tuple(payload),
      isAcknowledged,
    });
  const known = names.map((name) => named(name, payloads.get(name) as fc.Arbitrary<unknown>));
  const message = payloads.get('message') as fc.Arbitrary<unknown>;
  const anyName = fc.oneof(fc.constantFrom(...names, 'connected', 'reply', 'logout:', 'error'), fc.nat(), anyText);
  return fc.oneof(
    { weight: 6, arbitrary: fc.oneof(...known) },
    { weight: 4, arbitrary: named('message', message) },
    { weight: 2, arbitrary: fc.oneof(...WITHOUT_PAYLOAD.map((name) => named(name, fc.constant(null)))) },
    { weight: 5, arbitrary: fc.oneof(...names.map((name) => named(name, mutated(payloads.get(name) ?? hostile)))) },
    { weight: 3, arbitrary: named('message', mutated(message)) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('event' as const),
        name: anyName,
        args: fc.array(hostile, { maxLength: 5 }),
        isAcknowledged,
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('binary' as const),
        name: fc.constantFrom(...names),
        fields: fc.record({ to: fc.constantFrom(...USERS), type: fc.constant('t'), topic: fc.constantFrom(...TOPICS) }),
        bytes: anyBytes.map((bytes) => bytes.toString('hex')),
      }),
    },
  );
}

/** Packets that usually end a connection: whatever was sent before has been carried out. */
function otherInputs(events: fc.Arbitrary<Event | BinaryEvent>): fc.Arbitrary<Other> {
  const packets = events.map((event) => String(piecesOf(event, 7 - FIRST)[0]));
  const texts = fc.oneof(
    { weight: 4, arbitrary: damaged(packets) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom('', '0', '1', '2', '3', '4', '40', '41', '43', '44', '45', '46', '6', 'b'), anyText)
        .map((parts) => parts.join('')),
    },
  );
  const hex = anyBytes.map((bytes) => bytes.toString('hex'));
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('text' as const), text: texts }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('bytes' as const, 'raw' as const), text: hex }) },
  );
}

function laneInputs(events: fc.Arbitrary<Event | BinaryEvent>): fc.Arbitrary<Lane> {
  return fc.record({
    userId: fc.constantFrom(...USERS),
    events: fc.array(events, { minLength: 1, maxLength: 120, size: 'max' }),
    last: fc.array(otherInputs(events), { maxLength: 1 }),
  });
}

/** The frames of an input. */
function piecesOf(input: Input, index: number): Piece[] {
  const id = FIRST + index;
  if (input.kind === 'event') {
    return [`42${input.isAcknowledged ? id : ''}${JSON.stringify([input.name, ...input.args])}`];
  }
  if (input.kind === 'binary') {
    const payload = { ...input.fields, data: { _placeholder: true, num: 0 } };
    return [`451-${id}${JSON.stringify([input.name, payload])}`, Buffer.from(input.bytes, 'hex')];
  }
  if (input.kind === 'text') return [input.text];
  const bytes = Buffer.from(input.text, 'hex');
  return [input.kind === 'raw' ? { raw: bytes } : bytes];
}

/** The service's answers to the inputs of one connection. */
class Judge {
  readonly #answered = new Set<number>();

  constructor(
    private readonly api: AsyncApi,
    private readonly inputs: readonly Input[],
  ) {}

  /** @throws Error for a frame that does not match the document. */
  read(frame: string): void {
    if (frame.startsWith('43')) this.#readReply(frame);
    else if (frame.startsWith('42')) this.#readEvent(frame);
    else if (!/^(0\{|40\{"sid"|2$|3$|41$|1$|6$)/.test(frame)) throw new Error(`an unexpected frame: ${frame}`);
  }

  #readEvent(frame: string): void {
    const [name, payload, details] = JSON.parse(frame.slice(2)) as [string, unknown, unknown];
    if (name === 'error') readProblem(payload);
    const faults = this.api.eventFaults(name, payload, details);
    if (faults.length > 0) throw new Error(`${frame}\n${faults.join('\n')}`);
  }

  #readReply(frame: string): void {
    const [, digits = '', text = ''] = /^43(\d+)(\[.*\])$/s.exec(frame) ?? [];
    const id = Number(digits);
    if (id === LAST) return;
    const [reply] = JSON.parse(text) as [Reply];
    const input = this.inputs[id - FIRST];
    if (this.#answered.has(id)) throw new Error(`a second answer to ${JSON.stringify(input)}: ${frame}`);
    this.#answered.add(id);
    if (!reply.ok) readProblem(reply.error);
    // A damaged packet may ask for an answer under any number.
    if (input === undefined) return;
    target.count(reply.ok ? 'ok' : reply.error.code);
    if (input.kind === 'event') this.#judge(input, reply);
    if (reply.ok) target.accept(reply, input.kind === 'event' && isLasting(Object(input.args[0])));
  }

  #judge(input: Event, reply: Reply): void {
    const [payload] = input.args;
    const name = this.api.names('client').find((known) => known === input.name);
    if (name === undefined) {
      if (reply.ok) throw new Error(`an unknown event was accepted: ${JSON.stringify(input)}`);
      return;
    }
    const said = `${JSON.stringify(input)} was answered ${JSON.stringify(reply)}`;
    const faults = this.api.replyFaults(name, reply);
    if (faults.length > 0) throw new Error(`${said}\n${faults.join('\n')}`);
    const isBad = !WITHOUT_PAYLOAD.includes(name) && this.api.requestFaults(name, payload ?? null).length > 0;
    if (isBad && reply.ok) throw new Error(`bad input was accepted: ${said}`);
  }

  /** @param isWhole the connection lasted to the end. */
  finish(isWhole: boolean): void {
    if (!isWhole) target.count('cut');
    for (const [index, input] of this.inputs.entries()) {
      if (this.#answered.has(FIRST + index)) continue;
      rememberPerhaps(input);
      if (!isWhole || (input.kind !== 'event' && input.kind !== 'binary')) continue;
      if (input.kind === 'binary' || input.isAcknowledged) throw new Error(`no answer to ${JSON.stringify(input)}`);
      // Nobody asked for an answer.
      target.count('ok');
    }
  }
}

/** A send whose answer nobody received. */
function rememberPerhaps(input: Input): void {
  const args = input.kind === 'event' ? input.args : input.kind === 'text' ? argsOf(input.text) : [];
  for (const arg of args) if (typeof arg === 'object' && arg !== null && 'data' in arg) target.acceptPerhaps(arg.data);
}

function argsOf(packet: string): unknown[] {
  try {
    const args: unknown = JSON.parse(packet.toWellFormed().replace(/^42\d*/, ''));
    return Array.isArray(args) ? args : [];
  } catch {
    // What is not JSON sends nothing.
    return [];
  }
}

async function runLane(api: AsyncApi, { userId, events, last }: Lane): Promise<void> {
  const wire = await Wire.open(`${target.url}${WEBSOCKET}`);
  wire.send([`40${JSON.stringify({ token: target.token(userId) })}`]);
  if (!(await wire.until((frame) => frame.startsWith('42["sync:done"')))) throw new Error(`${userId} was not let in`);
  const inputs = [...events, ...last];
  wire.send([...inputs.flatMap(piecesOf), `42${LAST}["ping"]`]);
  if (last.some(({ kind }) => kind === 'raw')) wire.end();
  const isWhole = await wire.until((frame) => frame.startsWith(LAST_ANSWER));
  await wire.close();
  const judge = new Judge(api, inputs);
  for (const frame of wire.frames) judge.read(frame);
  judge.finish(isWhole);
}

/** The first input over WebSocket, before authentication. */
function handshakeInputs(): fc.Arbitrary<Other[]> {
  const valid = fc.record({ token: fc.constantFrom(...USERS).map((userId) => target.token(userId)) });
  const auth = fc.oneof(valid, mutated(valid), hostile).map((value) => JSON.stringify(value) ?? '');
  const connect = fc.oneof(auth, damaged(auth)).map((text) => `40${text}`);
  const packets = fc.oneof(
    { weight: 3, arbitrary: connect },
    { weight: 1, arbitrary: fc.constantFrom('41', '42["ping"]', '430[]', '40', '40/admin,', '3', '2probe', '5') },
    { weight: 1, arbitrary: anyText },
  );
  const texts = fc.record({ kind: fc.constant('text' as const), text: packets });
  const raw = fc.record({ kind: fc.constant('raw' as const), text: anyBytes.map((bytes) => bytes.toString('hex')) });
  return fc.array(fc.oneof({ weight: 8, arbitrary: texts }, { weight: 1, arbitrary: raw }), {
    minLength: 1,
    maxLength: 3,
  });
}

/** Ends with a second CONNECT without a token: it closes, or answers, what is not closed by then. */
async function runHandshake(api: AsyncApi, inputs: readonly Other[]): Promise<void> {
  const wire = await Wire.open(`${target.url}${WEBSOCKET}`);
  wire.send([...inputs.flatMap(piecesOf), '40{"token":"nobody"}', '49']);
  if (inputs.some(({ kind }) => kind === 'raw')) wire.end();
  await wire.until(() => false);
  const judge = new Judge(api, inputs);
  for (const frame of wire.frames) {
    if (!frame.startsWith('44')) judge.read(frame);
    else if (!frame.startsWith('44/')) readProblem((JSON.parse(frame.slice(2)) as { data: unknown }).data);
  }
  target.count('cut', inputs.length);
}

/** The same over HTTP: packets in one body. */
async function runPolling(api: AsyncApi, { userId, events, last }: Lane): Promise<void> {
  const opened = await exchange(target.url, { path: POLLING });
  const { sid } = JSON.parse(opened.text.slice(1)) as { sid: string };
  const path = `${POLLING}&sid=${sid}`;
  const post = (packets: readonly string[]) => {
    const headers = { 'Content-Type': 'text/plain;charset=UTF-8' };
    return exchange(target.url, { method: 'POST', path, headers, body: packets.join('\u001e') });
  };
  const frames: string[] = [];
  const until = async (prefix: string) => {
    for (;;) {
      const { status, text } = await exchange(target.url, { path });
      if (status !== 200) return false;
      frames.push(...text.split('\u001e'));
      if (frames.some((frame) => frame.startsWith(prefix))) return true;
    }
  };
  await post([`40${JSON.stringify({ token: target.token(userId) })}`]);
  if (!(await until('42["sync:done"'))) throw new Error(`${userId} was not let in`);
  const inputs = [...events.filter(({ kind }) => kind === 'event'), ...last.filter(({ kind }) => kind === 'text')];
  const packets = inputs.flatMap(piecesOf).map(String);
  await post([...packets, `42${LAST}["ping"]`]);
  const isWhole = await until(LAST_ANSWER);
  if (isWhole) await post(['41', '1']);
  const judge = new Judge(api, inputs);
  for (const frame of frames.filter((text) => text !== '')) judge.read(frame);
  judge.finish(isWhole);
}

it('answers 44,000 random packets, and nobody else is harmed', async () => {
  await target.open();
  const api = await AsyncApi.of(target.url, 'socketIo');
  const lane = laneInputs(eventInputs(api));
  const lanes = fc.array(lane, { minLength: 1, maxLength: LANES, size: 'max' });
  await target.fuzz('handshakes', handshakeInputs(), { runs: 300, run: (inputs) => runHandshake(api, inputs) });
  await target.fuzz('packets over polling', lane, { runs: 80, run: (one) => runPolling(api, one) });
  target.warmedUp();
  await target.fuzz('packets over WebSocket', lanes, {
    runs: 385,
    run: async (all) => {
      await Promise.all(all.map((one) => runLane(api, one)));
    },
  });
  await target.expectUnharmed(44_000);
});
