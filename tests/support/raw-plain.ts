/** A WebSocket written byte by byte: it can send what no library would, and omit what every library sends. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Frame } from './plain-client';
import { onTestEnd } from './temporary';

const PATIENCE_MS = 30_000;

export const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

interface FrameParts {
  readonly opcode: number;
  readonly payload?: string | Buffer;
  readonly isFinal?: boolean;
  /** The three reserved bits as a number. */
  readonly reserved?: number;
  readonly isMasked?: boolean;
}

/** The bytes of one frame (RFC 6455, section 5.2). */
export function encodeRawFrame(parts: FrameParts): Buffer {
  const { opcode, isFinal = true, reserved = 0, isMasked = true } = parts;
  const payload = Buffer.from(parts.payload ?? '');
  const size = payload.length < 126 ? payload.length : payload.length < 65_536 ? 126 : 127;
  const length = Buffer.alloc(size === 126 ? 2 : size === 127 ? 8 : 0);
  if (size === 126) length.writeUInt16BE(payload.length);
  if (size === 127) length.writeBigUInt64BE(BigInt(payload.length));
  const head = Buffer.from([(isFinal ? 0x80 : 0) | (reserved << 4) | opcode, (isMasked ? 0x80 : 0) | size]);
  if (!isMasked) return Buffer.concat([head, length, payload]);
  const mask = randomBytes(4);
  const masked = Buffer.from(payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0)));
  return Buffer.concat([head, length, mask, masked]);
}

export function textFrame(frame: unknown): Buffer {
  return encodeRawFrame({ opcode: OPCODES.text, payload: JSON.stringify(frame) });
}

/** A close frame; without a code its body is empty. */
export function closeFrame(code?: number): Buffer {
  const payload = Buffer.alloc(code === undefined ? 0 : 2);
  if (code !== undefined) payload.writeUInt16BE(code);
  return encodeRawFrame({ opcode: OPCODES.close, payload });
}

export class RawPlain {
  /** The answer to the upgrade, up to the first frame. */
  head = '';
  /** Text frames so far. */
  readonly received: Frame[] = [];
  /** The same unparsed, also those of Socket.IO, which are no JSON. */
  readonly texts: string[] = [];
  /** How many pongs have arrived. */
  pongs = 0;
  /** Code of the server's close frame. */
  closeCode: number | undefined;
  /** Has the server ended its side of TCP? */
  hasEnded = false;
  #buffer = Buffer.alloc(0);
  #isUpgraded = false;
  readonly #waiting = new Set<() => void>();

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#parse();
      this.#wake();
    });
    socket.on('error', () => undefined);
    const end = () => {
      this.hasEnded = true;
      this.#wake();
    };
    socket.on('end', end);
    socket.on('close', end);
    onTestEnd(() => {
      socket.destroy();
    });
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #parse(): void {
    if (!this.#isUpgraded) {
      const end = this.#buffer.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.head = this.#buffer.subarray(0, end).toString('latin1');
      this.#buffer = this.#buffer.subarray(end + 4);
      this.#isUpgraded = true;
    }
    while (this.#takeFrame());
  }

  #takeFrame(): boolean {
    const [first = 0, second = 0] = this.#buffer;
    const offset = second === 127 ? 10 : second === 126 ? 4 : 2;
    if (this.#buffer.length < offset) return false;
    const length =
      second === 127 ? Number(this.#buffer.readBigUInt64BE(2)) : second === 126 ? this.#buffer.readUInt16BE(2) : second;
    if (this.#buffer.length < offset + length) return false;
    const payload = this.#buffer.subarray(offset, offset + length);
    this.#buffer = this.#buffer.subarray(offset + length);
    const opcode = first & 0x0f;
    if (opcode === OPCODES.text) this.#takeText(payload.toString('utf8'));
    if (opcode === OPCODES.pong) this.pongs += 1;
    if (opcode === OPCODES.close) this.closeCode = payload.length < 2 ? 1005 : payload.readUInt16BE(0);
    return true;
  }

  #takeText(text: string): void {
    this.texts.push(text);
    if (text.startsWith('{')) this.received.push(JSON.parse(text) as Frame);
  }

  write(...chunks: Buffer[]): void {
    this.socket.write(Buffer.concat(chunks));
  }

  /** The first frame of this event, past or to come. */
  next(event: string): Promise<Frame> {
    return this.until(() => this.received.find((frame) => frame.event === event), `\`${event}\``);
  }

  /** Resolves to the code of the server's close frame. */
  closed(): Promise<number> {
    return this.until(() => this.closeCode, 'close frame');
  }

  /** Resolves when the server has ended its side of TCP. */
  async ended(): Promise<void> {
    await this.until(() => (this.hasEnded ? true : undefined), 'end of the connection');
  }

  until<Found>(look: () => Found | undefined, what: string): Promise<Found> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(wake);
        const seen = this.received.map(({ event }) => event).join(', ');
        reject(new Error(`no ${what} within ${PATIENCE_MS} ms; close ${this.closeCode}; seen: ${seen || this.head}`));
      }, PATIENCE_MS);
      const wake = () => {
        const found = look();
        if (found === undefined) return;
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve(found);
      };
      this.#waiting.add(wake);
      wake();
    });
  }
}

/** Upgrades, and resolves when the answer has arrived. TCP stays open on this side until the end of the test. */
export async function openRawPlain(
  url: string,
  options: { path?: string; headers?: string[] } = {},
): Promise<RawPlain> {
  const { hostname, port, host } = new URL(url);
  const raw = new RawPlain(connect({ port: Number(port), host: hostname, allowHalfOpen: true }));
  const lines = [
    `GET ${options.path ?? '/ws'} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...(options.headers ?? []),
  ];
  raw.socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  await raw.until(() => (raw.head === '' ? undefined : raw.head), 'answer to the upgrade');
  return raw;
}
