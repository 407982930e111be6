/**
 * Builds websocket-client.html: one file that works from a disk as well as from the service. With --check it writes
 * nothing, and fails unless the file is what it would write.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, '../websocket-client.html');
/** The licence asks for it. */
const NOTICE = `/*! Contains socket.io-client, engine.io-client, socket.io-parser, engine.io-parser and
@socket.io/component-emitter: MIT License, Copyright (c) Guillermo Rauch and Socket.IO contributors. */`;

async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'src/main.ts')],
    bundle: true,
    minify: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    banner: { js: NOTICE },
    legalComments: 'none',
    write: false,
  });
  // A message of socket.io-client has the address of its documents. Without it, the page contains no address of another
  // site.
  return outputFiles[0].text.trimEnd().replaceAll('https://socket.io', 'socket.io');
}

/** The page as it should be. */
async function makePage() {
  const template = readFileSync(join(here, 'page.html'), 'utf8');
  const style = readFileSync(join(here, 'page.css'), 'utf8');
  const script = await bundle();
  // Functions, because a text would have its dollar signs read as patterns.
  return template
    .replace('/* page.css */', () => `\n${style}`)
    .replace('/* src/main.ts */', () => `\n'use strict';\n${script}\n`);
}

const page = await makePage();
if (!process.argv.includes('--check')) {
  writeFileSync(target, page);
} else if (readFileSync(target, 'utf8') !== page) {
  process.stderr.write('websocket-client.html is not what page/ builds to: run `npm run build:page`\n');
  process.exitCode = 1;
}
