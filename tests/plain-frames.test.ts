/** docs/reference/plain-frames.md: a session that is typed as printed, and that leaves nothing out. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { clientActions } from '../features/plain-actions';
import type { SocketOperations } from '../features/socket-operations';
import { SERVER_EVENTS } from '../utils/protocol';
import { openGuide } from './support/guide';

jest.setTimeout(120_000);

const page = 'docs/reference/plain-frames.md';
const text = readFileSync(join(__dirname, '..', page), 'utf8');
const named = (pattern: RegExp) => [...new Set(Array.from(text.matchAll(pattern), ([, name = '']) => name))].sort();

it('matches what comes when it is typed', async () => {
  const guide = await openGuide(page, { env: { PRESENCE_GRACE_MS: '0' } });
  await guide.follow();
});

it('has every action', () => {
  // The table only names operations; none is called here.
  const nothing = new Proxy({}, { get: () => ({}) }) as SocketOperations;
  expect(named(/\{"action":"([^"]+)"/g)).toEqual([...clientActions(nothing).keys()].sort());
});

it('has every event, and an example of a custom one', () => {
  expect(named(/\{"event":"([^"]+)"/g)).toEqual([...SERVER_EVENTS, 'offer'].sort());
});
