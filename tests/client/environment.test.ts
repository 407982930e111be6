/** What React Native and old web views lack is done without. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newId } from '../../client/src';
import { parseAddress } from '../../client/src/address';
import { startService } from '../support/service';
import { installedClient, shell } from './installed';

const { directory } = installedClient();

/** Node's own `fetch` needs URL, so it is tested separately. */
const LACKING = ['crypto', 'URLSearchParams', 'atob', 'TextDecoder', 'TextEncoder'] as const;

/** Removes the globals while the test of the client runs; Node's own modules keep theirs. */
function without(names: readonly string[]): () => void {
  const globals = globalThis as Record<string, unknown>;
  const before = names.map((name) => [name, Object.getOwnPropertyDescriptor(globals, name)] as const);
  for (const name of names) Object.defineProperty(globals, name, { value: undefined, configurable: true });
  return () => {
    for (const [name, descriptor] of before)
      if (descriptor !== undefined) Object.defineProperty(globals, name, descriptor);
  };
}

it('an id needs no crypto', () => {
  const restore = without(['crypto']);
  const ids = Array.from({ length: 1_000 }, newId);
  restore();
  expect(new Set(ids).size).toBe(1_000);
  expect(ids.every((id) => /^[0-9a-f]{32}$/.test(id))).toBe(true);
});

it.each([
  ['http://localhost:8090', 'http://localhost:8090', ''],
  ['HTTPS://X.Example/', 'https://x.example', ''],
  ['https://x.example/notify/', 'https://x.example', '/notify'],
  ['http://[::1]:8090/a/b?c#d', 'http://[::1]:8090', '/a/b'],
])('%s is an address without URL', (url, origin, path) => {
  const restore = without(['URL']);
  const address = parseAddress(url);
  restore();
  expect(address).toEqual({ origin, path });
});

it.each(['http://', 'http:///x', 'http://a@b', 'http://a b', 'ftp://x'])('%s is not one', (url) => {
  expect(() => parseAddress(url)).toThrow(/^url: expected an address/);
});

it.each([
  ['', '/app/page'],
  ['/notify', '/notify'],
  ['./notify', '/app/notify'],
])('%j is one in a page', (url, path) => {
  Object.defineProperty(globalThis, 'location', { value: { href: 'https://x.example/app/page' }, configurable: true });
  expect(parseAddress(url)).toEqual({ origin: 'https://x.example', path });
  delete (globalThis as { location?: unknown }).location;
});

it('receives and reads its inbox without what React Native lacks', async () => {
  const service = await startService();
  await service.send('Zoë', [1]);
  const program = `
    // Loaded while everything is there.
    void fetch('data:,').then(() => {
    for (const name of ${JSON.stringify(LACKING)}) {
      Object.defineProperty(globalThis, name, { value: undefined, configurable: true });
    }
    const { connect } = require('tidings-client');
    const client = connect(process.env.SERVICE_URL, { token: async () => process.env.TOKEN });
    client.on('error', ({ message }) => console.log(message));
    client.on('message', async ({ data }) => {
      const { items } = await client.inbox.fetch({ limit: 1 });
      console.log(client.userId, JSON.stringify(data), items.length);
      client.close();
    });
    });
  `;
  writeFileSync(join(directory, 'lacking.cjs'), program);
  const env = { ...process.env, SERVICE_URL: service.url, TOKEN: service.token('Zoë') };
  const { stdout } = await shell(process.execPath, [join(directory, 'lacking.cjs')], { env, timeout: 15_000 });
  expect(stdout.trim()).toBe('Zoë {"n":1} 1');
});
