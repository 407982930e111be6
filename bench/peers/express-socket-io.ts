/**
 * The peer that most people would write by hand: Express and Socket.IO with their defaults, tokens verified with a key
 * made once, nothing stored.
 */
import { createSecretKey } from 'node:crypto';
import { createServer } from 'node:http';
import express, { type NextFunction, type Request, type Response } from 'express';
import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';

interface SendBody {
  readonly userId: string;
  readonly type: string;
  readonly data: unknown;
}

const key = createSecretKey(Buffer.from(process.env.JWT_SECRET ?? '', 'utf8'));

function verify(token: string): string {
  const claims = jwt.verify(token, key, { algorithms: ['HS256'] });
  return String(claims.sub);
}

function authenticate(request: Request, response: Response, next: NextFunction): void {
  try {
    verify((request.headers.authorization ?? '').slice('Bearer '.length));
  } catch {
    response.status(401).json({ error: 'unauthorized' });
    return;
  }
  next();
}

const app = express();
const httpServer = createServer(app);
const io = new Server(httpServer);

app.get('/readyz', (_request, response) => {
  response.json({ status: 'ok' });
});
app.use(express.json());

app.post('/websocket/message/user', authenticate, (request, response) => {
  const { userId, type, data } = request.body as SendBody;
  io.to(userId).emit('message', { type, data, timestamp: new Date().toISOString() });
  response.json({ success: true, message: `Message sent to user ${userId}` });
});

app.post('/websocket/message/broadcast', authenticate, (request, response) => {
  const { type, data } = request.body as SendBody;
  io.emit('message', { type, data, timestamp: new Date().toISOString() });
  response.json({ success: true, message: 'Message broadcast' });
});

io.use((socket, next) => {
  try {
    socket.data.userId = verify(String(socket.handshake.auth.token));
    next();
  } catch {
    next(new Error('Authentication failed'));
  }
});

io.on('connection', (socket) => {
  void socket.join(String(socket.data.userId));
});

httpServer.listen(Number(process.env.PORT), process.env.HOST);
