/** What a connection's texts go over: a WebSocket, or requests that ask for them, as frames on real sockets. */
import { Agent, type ClientRequest, request } from 'node:http';
import type { Socket as TcpSocket } from 'node:net';
import WebSocket from 'ws';

export interface WireEnds {
  readonly onText: (text: string) => void;
  readonly onEnd: (reason: string) => void;
}

export interface Wire {
  send(text: string): void;
  /** Ends it as clients do. */
  close(): void;
  /** Ends it without a word. */
  cut(): void;
  /** Nothing is read any more. */
  pause(): void;
}

export function openWebSocket(url: string, { onText, onEnd }: WireEnds): Wire {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  socket.on('message', (data: Buffer) => onText(data.toString('utf8')));
  socket.on('error', () => undefined);
  socket.on('close', (code) => onEnd(`closed ${code}`));
  return {
    send: (text) => socket.send(text),
    close: () => socket.close(),
    pause: () => socket.pause(),
    cut: () => {
      const { _socket: tcp } = socket as unknown as { _socket?: TcpSocket };
      if (tcp === undefined || tcp === null) socket.terminate();
      else tcp.resetAndDestroy();
    },
  };
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

  /** Who is not asking just now cannot be told from who pauses: that one says that it goes. */
  cut(): void {
    this.#poll?.destroy();
    this.close();
  }
}
