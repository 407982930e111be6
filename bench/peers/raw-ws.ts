/** The floor: only Node's http and ws. No tokens, no rooms, no checks, nothing stored. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';

interface SendBody {
  readonly userId: string;
  readonly type: string;
  readonly data: unknown;
}

const socketsOfUser = new Map<string, Set<WebSocket>>();

function addSocket(userId: string, socket: WebSocket): void {
  const sockets = socketsOfUser.get(userId) ?? new Set();
  socketsOfUser.set(userId, sockets.add(socket));
  socket.on('close', () => sockets.delete(socket));
}

function send({ userId, type, data }: SendBody): void {
  const frame = JSON.stringify({ type, data, timestamp: new Date().toISOString() });
  for (const socket of socketsOfUser.get(userId) ?? []) socket.send(frame);
}

function broadcast({ type, data }: SendBody): void {
  const frame = JSON.stringify({ type, data, timestamp: new Date().toISOString() });
  for (const sockets of socketsOfUser.values()) {
    for (const socket of sockets) socket.send(frame);
  }
}

function answer(response: ServerResponse): void {
  const body = '{"success":true}';
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  response.end(body);
}

function onRequest(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const text = Buffer.concat(chunks).toString('utf8');
    if (request.url === '/send') send(JSON.parse(text) as SendBody);
    if (request.url === '/broadcast') broadcast(JSON.parse(text) as SendBody);
    answer(response);
  });
}

const httpServer = createServer(onRequest);
const webSocketServer = new WebSocketServer({ server: httpServer, perMessageDeflate: false });

webSocketServer.on('connection', (socket, request) => {
  const { searchParams } = new URL(request.url ?? '/', 'ws://localhost');
  addSocket(searchParams.get('user') ?? '', socket);
});

httpServer.listen(Number(process.env.PORT), process.env.HOST);
