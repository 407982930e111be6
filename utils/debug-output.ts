/**
 * What the variable DEBUG makes libraries print: requests with their paths, queries and packets, and so with tokens and
 * texts. It is parsed as the package `debug` parses it.
 */

/** Names under which the libraries at the doors print. A test compares them with what is installed. */
export const PRINTING_NAMES: readonly string[] = [
  ...[
    'engine',
    'engine:polling',
    'engine:socket',
    'engine:transport',
    'engine:uws',
    'engine:webtransport',
    'engine:ws',
  ],
  ...['socket.io:adapter-uws', 'socket.io:broadcast-operator', 'socket.io:client', 'socket.io:namespace'],
  ...['socket.io:parent-namespace', 'socket.io:server', 'socket.io:socket', 'socket.io-parser'],
  ...['express:application', 'express:view', 'router', 'router:layer', 'router:route', 'send', 'finalhandler'],
  ...['body-parser:json', 'body-parser:raw', 'body-parser:text', 'body-parser:urlencoded'],
];

function matcherOf(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*?')}$`);
}

/** The names that a value of DEBUG turns on. */
export function findPrinting(debug = ''): readonly string[] {
  const patterns = debug.split(/[\s,]+/).filter((pattern) => pattern !== '');
  const on = patterns.filter((pattern) => !pattern.startsWith('-')).map(matcherOf);
  const off = patterns.filter((pattern) => pattern.startsWith('-')).map((pattern) => matcherOf(pattern.slice(1)));
  const isIn = (list: readonly RegExp[], name: string) => list.some((matcher) => matcher.test(name));
  return PRINTING_NAMES.filter((name) => isIn(on, name) && !isIn(off, name));
}
