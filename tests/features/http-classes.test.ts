/**
 * What requests and responses are made of: requests that offer another protocol than WebSocket are requests like any
 * other, and Express finds the prototypes that it would set.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import express from 'express';
import { createHttpClasses } from '../../features/http-classes';
import { connectPlain } from '../support/plain-client';
import { startService, type TestService } from '../support/service';
import { onTestEnd } from '../support/temporary';

const BODY = JSON.stringify({ userId: 'anna', type: 'test', data: 1 });

/** A POST as a client writes it that would rather speak HTTP/2; with `upgrade` as it names the protocol. */
function offering(service: TestService, upgrade: string): string {
  return [
    'POST /websocket/message/user HTTP/1.1',
    'Host: localhost',
    'Connection: Upgrade, HTTP2-Settings',
    `Upgrade: ${upgrade}`,
    'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA',
    `Authorization: Bearer ${service.token('shop', 'send')}`,
    'Content-Type: application/json',
    `Content-Length: ${BODY.length}`,
    '',
    BODY,
  ].join('\r\n');
}

/** Writes requests one after the other on one connection; the status lines of the answers. */
async function statusesOf(service: TestService, requests: readonly string[]): Promise<string[]> {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
  onTestEnd(() => {
    socket.destroy();
  });
  await once(socket, 'connect');
  let received = '';
  const statuses = () => received.match(/HTTP\/1\.1 \d{3}/g) ?? [];
  for (const [index, request] of requests.entries()) {
    socket.write(request);
    while (statuses().length <= index) received += String((await once(socket, 'data'))[0]);
  }
  return statuses();
}

it.each(['h2c', 'h2c, websocket', 'TLS/1.2'])(
  'a send that offers %s is carried out, and the connection kept',
  async (offer) => {
    const service = await startService();
    const request = offering(service, offer);
    expect(await statusesOf(service, [request, request])).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
    const client = await service.connect('anna');
    await client.next('sync:done');
    expect(client.allMessages).toHaveLength(2);
  },
);

it('a WebSocket is one, on both endpoints', async () => {
  const service = await startService();
  await (await service.connect('anna')).next('sync:done');
  await (await connectPlain(service.url, 'anna')).next('sync:done');
});

it('Express changes no prototype of a request or response', async () => {
  const app = express();
  const server = createServer(
    createHttpClasses(app, () => undefined),
    app,
  ).listen(0, '127.0.0.1');
  onTestEnd(() => {
    server.close();
  });
  await once(server, 'listening');
  const prototypes: unknown[] = [];
  server.prependListener('request', (request, response) => {
    prototypes.push(Object.getPrototypeOf(request), Object.getPrototypeOf(response));
  });
  app.get('/', (request, response) => {
    prototypes.push(Object.getPrototypeOf(request), Object.getPrototypeOf(response));
    response.json({ path: request.path, isOurs: request.app === app });
  });
  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/`);
  expect(await answer.json()).toEqual({ path: '/', isOurs: true });
  expect(prototypes).toHaveLength(4);
  expect(prototypes[2]).toBe(prototypes[0]);
  expect(prototypes[3]).toBe(prototypes[1]);
});
