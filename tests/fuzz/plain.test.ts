/** Random frames at the plain endpoint. */
import fc from 'fast-check';
import type { Reply } from '../../utils/protocol';
import { AsyncApi } from '../support/asyncapi';
import { encodeRawFrame, OPCODES } from '../support/raw-plain';
import { anyBytes, anyText, damaged, hostile, type JsonSchema, mutated, USERS, valuesOf } from './inputs';
import { isLasting, readProblem, shareTarget } from './target';
import { type Piece, Wire } from './wire';

const target = shareTarget();
const LANES = 6;
const LAST = { action: 'ping', ref: 'last' };

/** A frame of JSON. If fragmented, it comes in two parts, with a ping between them. */
interface Action {
  readonly kind: 'action' | 'fragments';
  readonly frame: Readonly<Record<string, unknown>>;
  /** Does it ask for its reply under a `ref`? */
  readonly isNamed: boolean;
}

interface Other {
  readonly kind: 'text' | 'bytes' | 'ping' | 'raw';
  /** Bytes as hexadecimal digits. */
  readonly text: string;
}

type Input = Action | Other;

interface Lane {
  readonly userId: string;
  readonly inputs: readonly Input[];
  /** What usually ends a connection. */
  readonly last: readonly Input[];
}

const hex = anyBytes.map((bytes) => bytes.toString('hex'));

function other(kind: Other['kind'], text: fc.Arbitrary<string>): fc.Arbitrary<Other> {
  return fc.record({ kind: fc.constant(kind), text });
}

function frameInputs(api: AsyncApi): fc.Arbitrary<Input> {
  const frames = new Map(
    api
      .names('client')
      .map((name) => [name, valuesOf(api.requestSchema(name) as JsonSchema, (reference) => api.resolve(reference))]),
  );
  for (const name of ['logout', 'disconnect']) frames.delete(name);
  frames.set('auth', fc.record({ action: fc.constant('auth'), token: fc.constantFrom('a.b.c', 'x', '') }));
  const topic = fc.constantFrom('@fuzz-0', '*');
  frames.set('ack', fc.record({ action: fc.constant('ack'), topic, seq: fc.nat(2) }));
  const named = (kind: Action['kind'], frame: fc.Arbitrary<unknown>): fc.Arbitrary<Action> =>
    fc.record({
      kind: fc.constant(kind),
      // What is not an object is not an action: it is sent as a text.
      frame: frame.map((value) => Object(value) as Action['frame']),
      isNamed: fc.integer({ min: 0, max: 19 }).map((n) => n > 0),
    });
  const all = fc.oneof(...frames.values());
  const messages = frames.get('message') as fc.Arbitrary<unknown>;
  const texts = all.map((frame) => JSON.stringify(frame));
  return fc.oneof(
    { weight: 14, arbitrary: named('action', all) },
    { weight: 4, arbitrary: named('action', messages) },
    { weight: 5, arbitrary: named('action', mutated(all)) },
    { weight: 2, arbitrary: named('action', mutated(messages)) },
    { weight: 1, arbitrary: named('fragments', all) },
    { weight: 3, arbitrary: other('text', damaged(texts)) },
    {
      weight: 1,
      arbitrary: other(
        'text',
        fc.oneof(
          anyText,
          hostile.map((value) => JSON.stringify(value)),
        ),
      ),
    },
    { weight: 1, arbitrary: other('bytes', hex) },
    { weight: 1, arbitrary: other('ping', hex) },
  );
}

function laneInputs(frames: fc.Arbitrary<Input>): fc.Arbitrary<Lane> {
  const goodbye = fc.constantFrom('disconnect', 'logout').map(
    (action): Input => ({
      kind: 'action',
      frame: { action },
      isNamed: true,
    }),
  );
  return fc.record({
    userId: fc.constantFrom(...USERS),
    inputs: fc.array(frames, { minLength: 1, maxLength: 120, size: 'max' }),
    last: fc.array(fc.oneof(other('raw', hex), goodbye), { maxLength: 1 }),
  });
}

function isAction(input: Input): input is Action {
  return input.kind === 'action' || input.kind === 'fragments';
}

function piecesOf(input: Input, index: number): Piece[] {
  if (isAction(input)) {
    const text = JSON.stringify(input.isNamed ? { ...input.frame, ref: nameOf(index) } : input.frame);
    return input.kind === 'action' ? [text] : fragmentsOf(text);
  }
  if (input.kind === 'text') return [input.text];
  const bytes = Buffer.from(input.text, 'hex');
  if (input.kind === 'bytes') return [bytes];
  return [{ raw: input.kind === 'raw' ? bytes : encodeRawFrame({ opcode: OPCODES.ping, payload: bytes }) }];
}

function fragmentsOf(text: string): Piece[] {
  const bytes = Buffer.from(text);
  const half = bytes.length >> 1;
  const { text: opcode, continuation, ping } = OPCODES;
  return [
    { raw: encodeRawFrame({ opcode, isFinal: false, payload: bytes.subarray(0, half) }) },
    { raw: encodeRawFrame({ opcode: ping }) },
    { raw: encodeRawFrame({ opcode: continuation, payload: bytes.subarray(half) }) },
  ];
}

function nameOf(index: number): string {
  return `input-${index}`;
}

type Frame = Readonly<Record<string, unknown>> & { readonly event: string };

/** The service's answers to the inputs of one connection. */
class Judge {
  readonly #answered = new Set<unknown>();
  /** Replies to inputs without a `ref`, and the pongs in place of some of them. */
  #unnamed = 0;

  constructor(
    private readonly api: AsyncApi,
    private readonly inputs: readonly Input[],
  ) {}

  /** @throws Error for a frame that does not match the document. */
  read(text: string): void {
    const frame = JSON.parse(text) as Frame;
    if (frame.event === 'reply') this.#readReply(frame, text);
    else {
      if (frame.event === 'error') readProblem(frame);
      if (frame.event === 'pong') this.#unnamed += 1;
      const faults = this.api.eventFaults(frame.event, frame);
      if (faults.length > 0) throw new Error(`${text}\n${faults.join('\n')}`);
    }
  }

  #readReply(frame: Frame, text: string): void {
    const { event: _event, ref, ...reply } = frame as unknown as Frame & Reply;
    if (ref === LAST.ref) return;
    if (this.#answered.has(ref)) throw new Error(`a second answer: ${text}`);
    if (!reply.ok) readProblem(reply.error);
    const input = this.inputs.find((_input, index) => nameOf(index) === ref);
    target.count(reply.ok ? 'ok' : reply.error.code);
    if (input === undefined) {
      this.#unnamed += 1;
      if (reply.ok) target.accept(reply, false);
      return;
    }
    this.#answered.add(ref);
    if (isAction(input)) this.#judge(input, frame, reply as Reply);
  }

  #judge({ frame: { ref: _ref, ...asked } }: Action, frame: Frame, reply: Reply): void {
    const said = `${JSON.stringify(asked)} was answered ${JSON.stringify(frame)}`;
    const action = this.api.names('client').find((known) => known === asked['action']);
    if (action === undefined) {
      if (reply.ok) throw new Error(`an unknown action was carried out: ${said}`);
      return;
    }
    const faults = this.api.replyFaults(action, frame as unknown as Reply);
    if (faults.length > 0) throw new Error(`${said}\n${faults.join('\n')}`);
    if (!reply.ok) return;
    if (this.api.requestFaults(action, asked).length > 0) throw new Error(`bad input was accepted: ${said}`);
    target.accept(reply, isLasting(asked));
  }

  /** @param isWhole the connection lasted to the end. */
  finish(isWhole: boolean): void {
    if (!isWhole) target.count('cut');
    const unnamed = this.inputs.filter((input, index) => !this.#answered.has(nameOf(index)) && input.kind !== 'ping');
    for (const input of unnamed) rememberPerhaps(input);
    if (isWhole && this.#unnamed < unnamed.length) throw new Error(`${unnamed.length - this.#unnamed} have no answer`);
  }
}

/** A send whose answer nobody received, or that has no `ref`. */
function rememberPerhaps(input: Input): void {
  const frame = isAction(input) ? input.frame : parsed(input.text);
  if (typeof frame !== 'object' || frame === null) return;
  if ('data' in frame) target.acceptPerhaps(frame.data);
  if ('content' in frame) target.acceptPerhaps({ content: frame.content });
}

function parsed(text: string): unknown {
  try {
    // Half a character becomes another one in transit.
    return JSON.parse(text.toWellFormed());
  } catch {
    // What is not JSON sends nothing.
    return undefined;
  }
}

async function runLane(api: AsyncApi, { userId, inputs, last }: Lane): Promise<void> {
  const wire = await Wire.open(`${target.url}/ws`, { Authorization: `Bearer ${target.token(userId)}` });
  const isIn = await wire.until((frame) => frame.startsWith('{"event":"sync:done"'));
  if (!isIn) throw new Error(`${userId} was not let in: ${wire.frames.join()}`);
  const all = [...inputs, ...last];
  wire.send([...all.flatMap(piecesOf), JSON.stringify(LAST)]);
  if (last.some(({ kind }) => kind === 'raw')) wire.end();
  const isWhole = await wire.until((frame) => frame.startsWith('{"event":"reply","ref":"last"'));
  await wire.close();
  const judge = new Judge(api, all);
  for (const frame of wire.frames) judge.read(frame);
  judge.finish(isWhole);
}

interface Arrival {
  readonly path: string;
  readonly first: readonly Other[];
}

/** Before authentication: by the path, and by what comes first. */
function arrivalInputs(): fc.Arbitrary<Arrival> {
  const tokens = fc.constantFrom(...USERS).map((userId) => target.token(userId));
  const valid = fc.record({ action: fc.constant('auth'), token: tokens, device: fc.constant('phone') });
  const auth = fc.oneof(valid, mutated(valid)).map((frame) => JSON.stringify(frame));
  const inPath = tokens.map((token) => token.split('.').slice(0, 2).join('.'));
  const first = fc.oneof(
    { weight: 5, arbitrary: other('text', fc.oneof(auth, damaged(auth))) },
    { weight: 1, arbitrary: other('text', anyText) },
    { weight: 1, arbitrary: other('bytes', hex) },
    { weight: 1, arbitrary: other('ping', hex) },
  );
  return fc.record({
    path: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom('/ws', '/', '/ws?device=', '/ws?device=%00', '/ws?token=x&token=y') },
      {
        weight: 1,
        arbitrary: fc.tuple(fc.constantFrom('/', '/ws?token=', '/?token='), inPath).map((parts) => parts.join('')),
      },
    ),
    first: fc.array(first, { minLength: 1, maxLength: 3 }),
  });
}

/** An authenticated client asks to be closed; any other is closed for asking. */
async function runArrival(api: AsyncApi, { path, first }: Arrival): Promise<void> {
  const wire = await Wire.open(`${target.url}${path}`);
  wire.send([...first.flatMap(piecesOf), '{"action":"disconnect"}']);
  await wire.until(() => false);
  const judge = new Judge(api, first);
  for (const frame of wire.frames) judge.read(frame);
  target.count('cut', first.length);
}

it('answers 45,000 random frames, and nobody else is harmed', async () => {
  await target.open();
  const api = await AsyncApi.of(target.url, 'plain');
  const lanes = fc.array(laneInputs(frameInputs(api)), { minLength: 1, maxLength: LANES, size: 'max' });
  await target.fuzz('first frames', arrivalInputs(), { runs: 300, run: (arrival) => runArrival(api, arrival) });
  target.warmedUp();
  await target.fuzz('frames of the plain endpoint', lanes, {
    runs: 380,
    run: async (all) => {
      await Promise.all(all.map((lane) => runLane(api, lane)));
    },
  });
  await target.expectUnharmed(45_000);
});
