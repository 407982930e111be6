/** The package that `npm pack` makes: it loads in both kinds of modules, ends by itself, and its types are there. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startService } from '../support/service';
import { compile, installedClient, shell } from './installed';

const { directory } = installedClient();

const BODY = `
  const client = connect(process.env.SERVICE_URL, { token: process.env.TOKEN });
  client.on('message', ({ data }) => {
    console.log(typeof useInbox, JSON.stringify(data));
    client.close();
  });
`;

it.each([
  ['import', 'mjs', "import { connect } from 'tidings-client'; import { useInbox } from 'tidings-client/react';"],
  [
    'require',
    'cjs',
    "const { connect } = require('tidings-client'); const { useInbox } = require('tidings-client/react');",
  ],
])('is loaded by %s, receives, and leaves nothing running', async (_name, extension, head) => {
  const service = await startService();
  await service.send('anna', [1]);
  const file = join(directory, `program.${extension}`);
  writeFileSync(file, head + BODY);
  const env = { ...process.env, SERVICE_URL: service.url, TOKEN: service.token('anna') };
  // It would not end by itself if a socket or a timer were left.
  const { stdout, stderr } = await shell(process.execPath, [file], { env, timeout: 15_000 });
  expect([stdout.trim(), stderr]).toEqual(['function {"n":1}', '']);
});

it('has what it needs and nothing else', () => {
  const installed = join(directory, 'node_modules/tidings-client');
  expect(readdirSync(installed).sort()).toEqual(['LICENSE', 'README.md', 'dist', 'package.json', 'react']);
  expect(readdirSync(join(installed, 'dist')).sort()).toEqual(['cjs', 'esm']);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  expect(Object.keys(dependencies)).toEqual(['socket.io-client']);
  const kinds = ['cjs', 'esm'].flatMap((kind) => readdirSync(join(installed, 'dist', kind)));
  expect(kinds.filter((name) => !/\.(js|d\.ts)$/.test(name))).toEqual(['package.json']);
});

it('is found without `exports` too, by bundlers and compilers that do not know them', async () => {
  const installed = join(directory, 'node_modules/tidings-client');
  // A path of files has no exports: this is how they look for it.
  expect(await exportsOf(join(installed, 'react'))).toEqual(['useInbox']);
  expect(await exportsOf(installed)).toContain('connect');
  const { types, module } = readJson<{ types: string; module: string }>(join(installed, 'react/package.json'));
  for (const file of [types, module]) expect(existsSync(join(installed, 'react', file))).toBe(true);
});

it('is client code where components run on servers', () => {
  for (const kind of ['cjs', 'esm']) {
    const text = readFileSync(join(directory, 'node_modules/tidings-client/dist', kind, 'react.js'), 'utf8');
    expect(text).toMatch(/^("use strict";\n)?['"]use client['"];/);
  }
});

async function exportsOf(path: string): Promise<string[]> {
  const program = `console.log(Object.keys(require(${JSON.stringify(path)})).join(' '))`;
  const { stdout } = await shell(process.execPath, ['-e', program], { cwd: directory });
  return stdout.trim().split(' ');
}

function readJson<Value>(path: string): Value {
  return JSON.parse(readFileSync(path, 'utf8')) as Value;
}

const TYPED = `
import { connect, type InboxItem, type TidingsClient } from 'tidings-client';
import { useInbox } from 'tidings-client/react';

interface Events { 'order:paid': { readonly order: number } }
const client = connect<Events>('http://localhost', { token: async () => 'x' });
client.on('order:paid', ({ order }, { seq }) => order.toFixed() + (seq ?? 0).toFixed());
client.on('message', ({ type }) => type.length);
client.on('error', ({ code }) => code === 'unreachable');
const items: readonly InboxItem[] = useInbox(client).items;
const any: TidingsClient = connect('http://localhost', { token: 'x' });
any.on('whatever', (data: unknown) => data);
void any.send({ to: 'anna', type: 'chat', data: items });
// @ts-expect-error: not an event
client.on('order:payed', () => undefined);
// @ts-expect-error: data is not a text
client.on('order:paid', (order: string) => order);
// @ts-expect-error: no recipient
void client.send({ type: 'chat', data: 1 });
// @ts-expect-error: one of both
void client.send({ to: 'anna', topic: 'news', type: 'chat', data: 1 });
// @ts-expect-error: not a state of a list
void client.inbox.fetch({ state: 'unseen' });
`;

it.each([
  ['import in Node', 'types.mts', ['--module', 'nodenext']],
  ['require in Node', 'types.cts', ['--module', 'nodenext']],
  ['a bundler', 'types.ts', ['--module', 'esnext', '--moduleResolution', 'bundler']],
])('has types for %s', async (_name, file, options) => {
  writeFileSync(join(directory, file), TYPED);
  expect(await compile(directory, [file], ['--noEmit', ...options])).toBe('');
});
