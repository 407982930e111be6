/** What carries a connection's texts: a WebSocket, or polling requests, as frames on real sockets. */
import { Agent, type ClientRequest, request } from 'node:http';
import { connect, type Socket } from 'node:net';

export interface WireEnds {
  readonly onText: (text: string) => void;
  readonly onEnd: (reason: string) => void;
}

export interface Wire {
  send(text: string): void;
  /** Ends it as clients do. */
  close(): void;
  /** Ends it silently. */
  cut(): void;
  /** Nothing is read any more. */
  pause(): void;
}

export function openWebSocket(port: number, path: string, ends: WireEnds): Wire {
  return new RawWebSocket(port, path, ends);
}

const OPCODES = { text: 1, close: 8, ping: 9, pong: 10 } as const;
const NO_BYTES = Buffer.alloc(0);
const HEAD_END = '\r\n\r\n';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const OPENED = 'HTTP/1.1 101';
const LARGEST_SHORT = 125;
const LARGEST_MEDIUM = 65_535;

/** A client of its own: a library's would cost as much as the service. */
class RawWebSocket implements Wire {
  readonly #socket: Socket;
  #received: Buffer = NO_BYTES;
  #isOpen = false;
  #isClosing = false;
  #code = 1006;

  constructor(
    port: number,
    path: string,
    private readonly ends: WireEnds,
  ) {
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true });
    const asking = `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`;
    this.#socket.write(`${asking}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}${HEAD_END}`);
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => this.ends.onEnd(`closed ${this.#code}`));
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    if (!this.#isOpen && !this.#open()) return;
    while (this.#takeFrame());
  }

  #open(): boolean {
    const end = this.#received.indexOf(HEAD_END);
    if (end < 0) return false;
    this.#isOpen = this.#received.toString('latin1', 0, OPENED.length) === OPENED;
    this.#received = this.#received.subarray(end + HEAD_END.length);
    return this.#isOpen;
  }

  /** The service sends whole messages, each in one frame. */
  #takeFrame(): boolean {
    const received = this.#received;
    if (received.length < 2 || this.#socket.isPaused()) return false;
    const size = (received[1] as number) & 0x7f;
    const start = size === 127 ? 10 : size === 126 ? 4 : 2;
    if (received.length < start) return false;
    const length = size === 127 ? Number(received.readBigUInt64BE(2)) : size === 126 ? received.readUInt16BE(2) : size;
    if (received.length < start + length) return false;
    this.#received = received.length === start + length ? NO_BYTES : received.subarray(start + length);
    this.#read((received[0] as number) & 0x0f, received.subarray(start, start + length));
    return true;
  }

  #read(opcode: number, payload: Buffer): void {
    if (opcode === OPCODES.text) this.ends.onText(payload.toString('utf8'));
    else if (opcode === OPCODES.ping) this.#write(OPCODES.pong, payload);
    else if (opcode === OPCODES.close) {
      this.#code = payload.length < 2 ? 1005 : payload.readUInt16BE(0);
      if (!this.#isClosing) this.#write(OPCODES.close, payload.subarray(0, 2));
      this.#socket.end();
    }
  }

  send(text: string): void {
    this.#write(OPCODES.text, Buffer.from(text));
  }

  /** The mask is zero: it is required, and may be anything. */
  #write(opcode: number, payload: Buffer): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    const { length } = payload;
    const size = length <= LARGEST_SHORT ? length : length <= LARGEST_MEDIUM ? 126 : 127;
    const extra = size === 127 ? 8 : size === 126 ? 2 : 0;
    const frame = Buffer.alloc(6 + extra + length);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | size;
    if (size === 126) frame.writeUInt16BE(length, 2);
    if (size === 127) frame.writeBigUInt64BE(BigInt(length), 2);
    payload.copy(frame, 6 + extra);
    this.#socket.write(frame);
  }

  close(): void {
    this.#isClosing = true;
    if (this.#isOpen) this.#write(OPCODES.close, NO_BYTES);
    else this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  cut(): void {
    this.#socket.resetAndDestroy();
  }
}

/** Stands between the packets of one answer. */
const SEPARATOR = '\u001e';

export function openPolling(port: number, query: string, ends: WireEnds): Wire {
  return new Polling(port, query, ends);
}

class Polling implements Wire {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 2 });
  #path: string;
  #poll: ClientRequest | undefined;
  #unsent: string[] = [];
  #isSending = false;
  #isPaused = false;
  #isEnded = false;

  constructor(
    private readonly port: number,
    query: string,
    private readonly ends: WireEnds,
  ) {
    this.#path = `/socket.io/?EIO=4&transport=polling${query}`;
    this.#next();
  }

  #next(): void {
    if (this.#isPaused || this.#isEnded) return;
    this.#poll = this.#ask('GET', undefined, (status, text) => {
      this.#poll = undefined;
      if (status !== 200 && !this.#isPaused) return this.#end(`${status} ${text}`);
      if (status !== 200) return;
      for (const packet of text.split(SEPARATOR)) this.#take(packet);
      this.#next();
    });
  }

  #take(packet: string): void {
    if (this.#isPaused) return;
    if (packet.startsWith('0{')) {
      const { sid } = JSON.parse(packet.slice(1)) as { sid: string };
      this.#path += `&sid=${sid}`;
    }
    if (packet === '1') this.#end('closed by the service');
    else this.ends.onText(packet);
  }

  #ask(method: string, body: string | undefined, onAnswer: (status: number, text: string) => void): ClientRequest {
    const headers = body === undefined ? {} : { 'Content-Type': 'text/plain;charset=UTF-8' };
    const options = { host: '127.0.0.1', port: this.port, path: this.#path, method, headers, agent: this.#agent };
    const asking = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => undefined);
      response.on('end', () => onAnswer(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8')));
    });
    asking.on('error', (error) => {
      if (!this.#isPaused) this.#end(error.message);
    });
    asking.end(body);
    return asking;
  }

  send(text: string): void {
    this.#unsent.push(text);
    this.#flush();
  }

  #flush(): void {
    if (this.#isSending || this.#unsent.length === 0 || this.#isEnded) return;
    this.#isSending = true;
    this.#ask('POST', this.#unsent.splice(0).join(SEPARATOR), (status, text) => {
      this.#isSending = false;
      if (status === 200) this.#flush();
      else this.#end(`${status} ${text}`);
    });
  }

  #end(reason: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#agent.destroy();
    this.ends.onEnd(reason);
  }

  pause(): void {
    this.#isPaused = true;
  }

  close(): void {
    if (this.#isEnded) return;
    this.#isPaused = true;
    this.#ask('POST', '1', () => this.#end('closed'));
  }

  /** A client that is not polling right now cannot be told from one that pauses: so it announces its end. */
  cut(): void {
    this.#poll?.destroy();
    this.close();
  }
}
