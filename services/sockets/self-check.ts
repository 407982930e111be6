/**
 * Checks whether the internals of Socket.IO, Engine.IO and ws are as this service assumes: one session of each
 * transport, in memory, in which each internal has to do what it is used for.
 */
import { once } from 'node:events';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { Socket as TcpSocket } from 'node:net';
import { Duplex } from 'node:stream';
import { Server, type Socket } from 'socket.io';
import { textFrame } from '../../utils/websocket-frame';
import { type Note, runLooks, type SelfCheck } from '../internals';
import { answerUnderWay } from './answer-under-way';
import {
  type EngineConnection,
  type EngineRequest,
  type EngineServer,
  engineServerOf,
  insideOf,
  limitTransport,
} from './engine';
import { WebSocketServer } from './web-socket-server';

const MAX_BYTES = 1_024;

export const SOCKETS_CHECK: SelfCheck = {
  names: [
    'engine.io: request fields',
    'engine.io: sessions',
    'engine.io: listeners of data',
    'engine.io: write buffer',
    'engine.io: encoded frames',
    'engine.io: transport',
    'engine.io: payload parser',
    'engine.io: closing by polling',
    'engine.io: reasons',
    'socket.io: request listener',
    'socket.io: _onpacket',
    'socket.io: decoder',
    'socket.io: ack',
    'ws: _socket',
    'ws: _receiver',
    'ws: words of faults',
    'node: _httpMessage',
    'node: socket of a response',
  ],
  run: () =>
    runLooks([
      async (note) => lookAtResponse(note),
      ...[lookAtPolling, lookAtFrames, lookAtPackets, lookAtLimit, lookAtReasons].map(onBench),
    ]),
};

type Look = (bench: Bench, note: Note) => Promise<void>;

function onBench(look: Look) {
  return async (note: Note): Promise<void> => {
    const bench = createBench();
    try {
      await look(bench, note);
    } finally {
      await bench.io.close();
      // ws would wait for the peer to close its side.
      for (const wire of bench.wires) wire.destroy();
    }
  };
}

interface Bench {
  readonly io: Server;
  readonly engine: EngineServer;
  readonly requestListeners: number;
  readonly wires: MemoryWire[];
}

function createBench(): Bench {
  const httpServer = createServer();
  const io = new Server(httpServer, {
    wsEngine: WebSocketServer,
    perMessageDeflate: false,
    maxHttpBufferSize: MAX_BYTES,
    allowRequest: (request, answer) => answer(undefined, 'res' in request === (request.headers.upgrade === undefined)),
  });
  const engine = engineServerOf(io);
  return { io, engine, requestListeners: httpServer.listenerCount('request'), wires: [] };
}

/** A response gets its connection when the one before has left, and the connection knows whose turn it is. */
function lookAtResponse(note: Note): void {
  const { response } = makeRequest('GET', {});
  const connection = new TcpSocket();
  let isTold = false;
  response.once('socket', () => {
    isTold = true;
  });
  const isWaiting = response.socket === null;
  response.assignSocket(connection);
  note('node: socket of a response', isWaiting && isTold);
  note('node: _httpMessage', answerUnderWay(connection) === response);
}

async function lookAtPolling({ engine, requestListeners }: Bench, note: Note): Promise<void> {
  note('socket.io: request listener', requestListeners === 1);
  const { request, response } = makeRequest('GET', { EIO: '4', transport: 'polling' });
  const session = await sessionOf(engine, () => engine.handleRequest(request, response));
  const { transport } = session;
  // The target contains none of it.
  note('engine.io: request fields', session.request === request);
  note('engine.io: sessions', engine.clients[session.id] === session && session.readyState === 'open');
  note('engine.io: transport', transport.name === 'polling' && typeof transport.writable === 'boolean');
  const { parser } = transport;
  const parsed = new Promise<boolean>((resolve) => {
    transport.parser = {
      decodePayload: (payload) => {
        resolve(payload === '4a\u001e4b' && parser.decodePayload(payload).length === 2);
        return [];
      },
    };
  });
  const sent = makeRequest('POST', { EIO: '4', transport: 'polling', sid: session.id }, { body: '4a\u001e4b' });
  const read = unlessRefused(engine, parsed);
  engine.handleRequest(sent.request, sent.response);
  note('engine.io: payload parser', await read);
  session.close();
  note('engine.io: closing by polling', typeof transport.shouldClose === 'function' && 'closeTimeout' in transport);
  session.close(true);
  transport.shouldClose?.();
}

/** A packet with its own frame is sent as that frame; one that waits is in the buffer with it. */
async function lookAtFrames(bench: Bench, note: Note): Promise<void> {
  const { session, wire } = await openWebSocket(bench);
  note('ws: _socket', session.transport.socket?._socket === (wire as unknown));
  note('engine.io: listeners of data', session.listenerCount('data') === 1);
  const frame = textFrame(Buffer.from('42["framed"]'));
  session.write('2["packet"]', { wsPreEncodedFrame: [frame] });
  session.write('2["packet"]', { wsPreEncodedFrame: [frame] });
  const waiting = session.writeBuffer.at(-1);
  note('engine.io: write buffer', waiting?.options?.wsPreEncodedFrame?.[0] === frame && waiting.data === '2["packet"]');
  await once(session.transport, 'drain');
  note('engine.io: encoded frames', wire.text.endsWith('42["framed"]'));
}

/** A client's event passes the decoder, then the method of its socket. */
async function lookAtPackets(bench: Bench, note: Note): Promise<void> {
  const { wire } = await openWebSocket(bench);
  const socket = await socketOf(bench.io, wire);
  const inside = insideOf(socket);
  const decoded: unknown[] = [];
  const read: unknown[] = [];
  inside.client.decoder.on('decoded', (packet) => decoded.push(packet));
  const readPacket = inside._onpacket;
  inside._onpacket = (packet) => {
    read.push(packet);
    readPacket.call(socket, packet);
  };
  const came = once(socket, 'x');
  wire.receive('421["x"]');
  await came;
  note('socket.io: _onpacket', read.length === 1);
  note('socket.io: decoder', decoded.length === 1 && decoded[0] === read[0]);
  inside.ack(7)({});
  await once(socket.conn.transport, 'drain');
  note('socket.io: ack', wire.text.endsWith('437[{}]'));
}

async function lookAtLimit(bench: Bench, note: Note): Promise<void> {
  const { session, wire } = await openWebSocket(bench);
  const ended = Promise.race([once(session, 'close'), once(session, 'data')]);
  limitTransport(session.transport, MAX_BYTES / 2);
  wire.receive(`4${' '.repeat(MAX_BYTES / 2)}`);
  const [, fault] = (await ended) as [reasonOrData: string, fault: unknown];
  const words = fault instanceof Error ? fault.message : '';
  note('ws: _receiver', words !== '');
  note('ws: words of faults', /Max payload size exceeded/.test(words));
}

/** These words tell ends apart. */
async function lookAtReasons(bench: Bench, note: Note): Promise<void> {
  const cut = await reasonsOf(bench, ({ session }) => session.close(true));
  const unreadable = await reasonsOf(bench, ({ wire }) => wire.receive('9'));
  const found = [...cut, ...unreadable].join();
  note('engine.io: reasons', found === 'forced close,forced close,parse error,parse error');
}

async function reasonsOf(bench: Bench, end: (opened: Opened) => void): Promise<readonly unknown[]> {
  const opened = await openWebSocket(bench);
  const socket = await socketOf(bench.io, opened.wire);
  const ends = Promise.all([once(opened.session, 'close'), once(socket, 'disconnect')]);
  end(opened);
  return (await ends).map(([reason]) => reason as unknown);
}

interface Opened {
  readonly session: EngineConnection;
  readonly wire: MemoryWire;
}

async function openWebSocket({ engine, wires }: Bench): Promise<Opened> {
  const wire = new MemoryWire();
  wires.push(wire);
  const { request } = makeRequest('GET', { EIO: '4', transport: 'websocket' }, { headers: UPGRADE });
  return { wire, session: await sessionOf(engine, () => engine.handleUpgrade(request, wire, Buffer.alloc(0))) };
}

async function sessionOf(engine: EngineServer, begin: () => void): Promise<EngineConnection> {
  const coming = unlessRefused(engine, once(engine, 'connection'));
  begin();
  const [session] = (await coming) as [EngineConnection];
  return session;
}

/** Engine.IO calls this when it refuses something. */
function unlessRefused<Result>(engine: EngineServer, coming: Promise<Result>): Promise<Result> {
  const refused = once(engine, 'connection_error').then(() => Promise.reject(new Error('Engine.IO has refused it')));
  return Promise.race([coming, refused]);
}

async function socketOf(io: Server, wire: MemoryWire): Promise<Socket> {
  const coming = once(io, 'connection');
  wire.receive('40');
  const [socket] = (await coming) as [Socket];
  return socket;
}

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  'sec-websocket-version': '13',
};

function makeRequest(
  method: string,
  query: Readonly<Record<string, string>>,
  { body, headers = {} }: { readonly body?: string; readonly headers?: object } = {},
) {
  const request = new IncomingMessage(new TcpSocket());
  Object.assign(request, { method, url: '/', _query: query });
  Object.assign(request.headers, headers);
  if (body !== undefined) request.push(body);
  request.push(null);
  return { request: request as EngineRequest, response: new ServerResponse(request) };
}

/** The client's end of a WebSocket. */
class MemoryWire extends Duplex {
  /** All bytes that were written. */
  text = '';

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }

  /** A text frame from the client, masked with zeros. */
  receive(text: string): void {
    const payload = Buffer.from(text);
    const size =
      payload.length < 126 ? [0x80 | payload.length] : [0x80 | 126, payload.length >> 8, payload.length & 255];
    this.push(Buffer.concat([Buffer.from([0x81, ...size, 0, 0, 0, 0]), payload]));
  }
}
