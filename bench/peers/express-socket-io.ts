/**
 * The peer that most people would write by hand: Express and Socket.IO with their defaults, tokens verified with a key
 * made once, nothing stored.
 */
import { createServer } from 'node:http';
import express from 'express';
import { Server } from 'socket.io';
import { authenticate, type SendBody, verify } from './authentication';

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
