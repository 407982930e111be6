/** Answers that are written while they are made. */
import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import type { Response } from 'express';
import { answerLines } from '../../features/answer';
import { range } from '../support/service';
import { onTestEnd } from '../support/temporary';

const LINES = 100;
/** More than a socket takes at once: each line waits until the one before has left. */
const LINE = { text: 'x'.repeat(200_000) };

it('lines to a slow reader arrive whole, and waiting for it leaves no listeners behind', async () => {
  const listening: number[] = [];
  const server = createServer(async (_request, response) => {
    async function* lines(): AsyncGenerator<object> {
      for (const _line of range(1, LINES)) {
        yield LINE;
        listening.push(response.listenerCount('close') + response.listenerCount('drain'));
      }
    }
    await answerLines(response as Response, lines());
  });
  server.listen(0, '127.0.0.1');
  onTestEnd(() => promisify(server.close.bind(server))());
  await once(server, 'listening');
  const [response] = (await once(get({ port: (server.address() as AddressInfo).port }), 'response')) as [
    IncomingMessage,
  ];
  let bytes = 0;
  for await (const chunk of response) bytes += (chunk as Buffer).length;
  expect(bytes).toBe(LINES * (JSON.stringify(LINE).length + 1));
  expect(listening).toHaveLength(LINES);
  expect(Math.max(...listening)).toBe(Math.min(...listening));
});
