/** What a request has taken is given back, however late it was taken: guards before it may wait for other nodes. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { whenOver } from '../../features/request';
import { onTestEnd } from '../support/temporary';

async function openResponse(): Promise<{ response: ServerResponse; leave: () => void }> {
  const server = createServer();
  onTestEnd(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  return { response, leave: () => client.destroy() };
}

it('is given back when the client leaves', async () => {
  const { response, leave } = await openResponse();
  const giveBack = jest.fn();
  whenOver(response, giveBack);
  expect(giveBack).not.toHaveBeenCalled();
  leave();
  await once(response, 'close');
  expect(giveBack).toHaveBeenCalledTimes(1);
});

it('is given back at once when the client has left', async () => {
  const { response, leave } = await openResponse();
  leave();
  await once(response, 'close');
  const giveBack = jest.fn();
  whenOver(response, giveBack);
  expect(giveBack).toHaveBeenCalledTimes(1);
});
