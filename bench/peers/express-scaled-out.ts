/**
 * The peer that most people would write by hand for several nodes: Express and Socket.IO with the Redis adapter, and each
 * message inserted into MongoDB (majority, journal) before it is sent.
 */
import { createServer } from 'node:http';
import { createClient } from '@redis/client';
import { createAdapter } from '@socket.io/redis-adapter';
import express from 'express';
import { MongoClient } from 'mongodb';
import { Server } from 'socket.io';
import { authenticate, type SendBody, verify } from './authentication';

async function connectRedis() {
  const client = createClient({ url: process.env.REDIS_URL ?? '' });
  await client.connect();
  return client;
}

async function main(): Promise<void> {
  const app = express();
  const httpServer = createServer(app);
  const [publisher, subscriber] = await Promise.all([connectRedis(), connectRedis()]);
  // Channels of Redis are not divided by database: the key keeps others on this Redis apart.
  const adapter = createAdapter(publisher, subscriber, { key: process.env.STORE_URL ?? '' });
  const io = new Server(httpServer, { adapter });
  const mongo = await MongoClient.connect(process.env.STORE_URL ?? '', {
    writeConcern: { w: 'majority', journal: true },
  });
  const messages = mongo.db().collection('messages');

  app.get('/readyz', (_request, response) => {
    response.json({ status: 'ok' });
  });
  app.use(express.json());

  app.post('/websocket/message/user', authenticate, async (request, response) => {
    const { userId, type, data } = request.body as SendBody;
    const message = { type, data, timestamp: new Date().toISOString() };
    const { insertedId } = await messages.insertOne({ userId, ...message });
    io.to(userId).emit('message', { id: insertedId.toHexString(), ...message });
    response.json({ success: true, message: `Message sent to user ${userId}` });
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
}

void main();
