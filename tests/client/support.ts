/** The client package against a service, as an application uses it. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import { type ClientOptions, connect, memoryStorage, type StorageAdapter, type TidingsClient } from '../../client/src';
import { eventually } from '../support/eventually';
import { onTestEnd } from '../support/temporary';

/** Opens a client that reconnects quickly. Its errors are in `errors`, and it is closed after the test. */
export function openClient<Custom extends object = Record<string, unknown>>(
  url: string,
  options: ClientOptions,
): TidingsClient<Custom> & { readonly errors: string[] } {
  const transport = { reconnectionDelay: 20, reconnectionDelayMax: 50, ...options.transport };
  const client = connect<Custom>(url, { ...options, transport });
  const errors: string[] = [];
  client.on('error', ({ code }) => errors.push(code));
  onTestEnd(() => client.close());
  return Object.assign(client, { errors });
}

/** A storage as a phone or a database gives one: everything takes a turn. */
export function slowStorage(): StorageAdapter {
  const items = memoryStorage();
  const later = async <Value>(work: () => Value): Promise<Awaited<Value>> => {
    await new Promise((resolve) => setImmediate(resolve));
    return await work();
  };
  return {
    getItem: (key) => later(() => items.getItem(key)),
    setItem: (key, value) => later(() => items.setItem(key, value)),
    removeItem: (key) => later(() => items.removeItem(key)),
  };
}

/** Waits until a value that changes by itself is the expected one. */
export async function until<Value>(look: () => Value, isExpected: (value: Value) => boolean): Promise<Value> {
  return eventually(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return look();
  }, isExpected);
}

/** The numbers in the `data` of messages as TestService.send() makes them. */
export function numberIn(data: unknown): number {
  return (data as { n: number }).n;
}

/**
 * A service of a few lines, for what the real one does rarely or never.
 * @param onSocket handles each connection, counted from 1.
 */
export async function startFakeService(onSocket: (socket: Socket, connection: number) => void) {
  const server = createServer();
  const io = new Server(server);
  const times: number[] = [];
  io.on('connection', (socket) => {
    times.push(performance.now());
    onSocket(socket, times.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(async () => {
    await io.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, times };
}

/** Lets a connection begin, with nothing waiting. */
export function letIn(socket: Socket): void {
  socket.emit('authenticated', { userId: 'anna', socketId: socket.id, device: 'd', expiresAt: null });
  socket.emit('sync:done', { cursors: {}, counts: { unseen: 0, unread: 0 } });
}
