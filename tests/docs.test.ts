/** The documents say what the code does, in both directions: nothing is missing, and nothing is promised in vain. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { clientEvents } from '../features/client-events';
import { clientActions } from '../features/plain-actions';
import type { mountRoutes } from '../features/routes';
import type { SocketOperations } from '../features/socket-operations';
import { renderConfigurationPage } from '../scripts/generate-docs';
import { AUDIT_ACTIONS } from '../utils/audit';
import { describeVariables, renderEnvExample } from '../utils/config';
import { ERROR_KINDS, type ErrorCode, kindOf } from '../utils/errors';
import { CLOSING_CODES, REQUESTED_STATES, SERVER_EVENTS, WEBSOCKET_CLOSE_CODES } from '../utils/protocol';
import { contentSchema } from '../utils/schemas';
import { parseHttpFile } from './support/http-file';
import { idleMetrics } from './support/metrics';
import { OpenApi } from './support/openapi';
import { startService } from './support/service';

type MountRoutes = typeof mountRoutes;

const mockMounted: string[] = [];

// Every table of routes passes through here with its prefix: the list is what the service really answers.
jest.mock('../features/routes', () => {
  const actual = jest.requireActual<{ mountRoutes: MountRoutes }>('../features/routes');
  const recordAndMount: MountRoutes = (app, prefix, routes) => {
    for (const { method, path } of routes) mockMounted.push(`${method.toUpperCase()} ${prefix}${path}`);
    actual.mountRoutes(app, prefix, routes);
  };
  return { ...actual, mountRoutes: recordAndMount };
});

const ROOT = join(__dirname, '..');
const NOT_OURS = new Set(['node_modules', 'dist', 'data', 'coverage', 'playground', '.git']);
/** Names that look like variables of the service but are none: those of the tests, and an LMDB error. */
const OTHER_NAMES = [
  'TIDINGS_REQUIRE_ALL',
  'TIDINGS_SEED',
  'TIDINGS_CASES',
  'TIDINGS_OPERATIONS',
  'MDB_VERSION_MISMATCH',
];

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function filesBelow(directory: string, extension: string): string[] {
  return readdirSync(join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return NOT_OURS.has(entry.name) ? [] : filesBelow(path, extension);
    return entry.name.endsWith(extension) ? [path] : [];
  });
}

const PAGES = filesBelow('.', '.md');

function withoutCode(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```$/gm, '');
}

function headings(markdown: string, level: number): string[] {
  const lines = withoutCode(markdown).matchAll(new RegExp(`^#{${level}} (.+)$`, 'gm'));
  return Array.from(lines, ([, heading = '']) => heading);
}

/** The text below a heading of level 2, up to the next one. */
function section(markdown: string, heading: string): string {
  const [, text] = markdown.split(`\n## ${heading}\n`);
  if (text === undefined) throw new Error(`there is no section ${heading}`);
  return text.split('\n## ')[0] ?? '';
}

function inBackticks(markdown: string): string[] {
  return Array.from(markdown.matchAll(/`([^`\n]+)`/g), ([, code = '']) => code);
}

function sorted(names: Iterable<string>): string[] {
  return [...new Set(names)].sort();
}

/** What the code hands to a function as its first text: names of events and codes that it sends. */
function namesInSources(pattern: RegExp): string[] {
  const sources = ['features', 'handlers', 'services'].flatMap((directory) => filesBelow(directory, '.ts'));
  // The specifications have examples, which nobody sends; a socket event wakes the MongoDB driver, and the check of a
  // server uses an event of a connection.
  const others =
    /^(features\/(specifications\/|self-check|compatibility\/gateway-specification)|services\/storage\/mongodb\/driver)/;
  const sending = sources.filter((path) => !others.test(path));
  return sending.flatMap((path) => Array.from(read(path).matchAll(pattern), ([, name = '']) => name));
}

function retryOf(code: ErrorCode): string {
  const { retryAfterSeconds: seconds, mayBeDone } = kindOf(code);
  if (seconds === undefined) return 'Retrying does not help.';
  const retry = `Retry after ${seconds} s`;
  if (mayBeDone === undefined) return `${retry}.`;
  return `${retry}, with the same \`id\` or \`Idempotency-Key\`: the request may have been carried out.`;
}

describe('docs/reference/errors.md', () => {
  const page = read('docs/reference/errors.md');

  it('has one heading for each error code', () => {
    expect(headings(page, 2).sort()).toEqual(Object.keys(ERROR_KINDS).sort());
  });

  it.each(Object.keys(ERROR_KINDS) as ErrorCode[])('gives the status of %s, and whether a retry helps', (code) => {
    const [firstLine] = section(page, code).trim().split('\n');
    expect(firstLine).toBe(`Status ${kindOf(code).status}. ${retryOf(code)}`);
  });

  it('has no links to files: it is served under another path', () => {
    expect(linksOf(page)).toEqual([]);
  });
});

describe('the configuration', () => {
  it('is in .env.example as `npm run docs` writes it', () => {
    expect(read('.env.example')).toBe(renderEnvExample());
  });

  it('is in docs/reference/configuration.md as `npm run docs` writes it', () => {
    expect(read('docs/reference/configuration.md')).toBe(renderConfigurationPage());
  });

  it.each(PAGES)('has every variable that %s names', (path) => {
    const named = inBackticks(read(path)).filter((code) => /^[A-Z]+(_[A-Z]+)+$/.test(code));
    const known = [...describeVariables().map(({ name }) => name), ...OTHER_NAMES];
    expect(named.filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe('docs/reference/http.md', () => {
  const page = read('docs/reference/http.md');
  const documented = headings(page, 3).filter((heading) => /^[A-Z]+ \//.test(heading));

  it('has one heading for each route', async () => {
    mockMounted.length = 0;
    await startService();
    expect([...documented].sort()).toEqual([...mockMounted].sort());
  });

  it('names only routes that answer', async () => {
    const service = await startService();
    for (const route of documented) {
      const [method = '', path = ''] = route.split(' ');
      const target = path.replace(':file', 'swagger-ui.css').replaceAll(/:\w+/g, 'anna');
      const response = await fetch(service.url + target, { method });
      expect(`${route}: ${response.status}`).toMatch(/: (200|401)$/);
    }
  });

  it('has each send option in its table', () => {
    const options = Object.keys(contentSchema.shape).filter((name) => name !== 'type' && name !== 'data');
    expect(firstCells(section(page, 'Send options')).sort()).toEqual(options.sort());
  });

  it('has each action of the audit log in its table', () => {
    const rows = section(page, 'Audit log').split('| Action |')[1]?.split('\n\n')[0] ?? '';
    const actions = Array.from(rows.matchAll(/^\| (`[^|]+) \|/gm), ([, names = '']) => inBackticks(names)).flat();
    expect(actions.sort()).toEqual([...AUDIT_ACTIONS].sort());
  });

  it('has each state that may be requested in its table', () => {
    const [, patch = ''] = page.split('\n### PATCH /inbox\n');
    const [, table = ''] = patch.split('| `state` | What it does |');
    expect(firstCells(table.split('\n\n')[0] ?? '').sort()).toEqual([...REQUESTED_STATES].sort());
  });

  it('has the routes of /openapi.json, in this order, and the pages', async () => {
    const { routes } = await OpenApi.of((await startService()).url);
    const specified = routes.map(({ method, path }) => `${method} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`);
    const pages = headings(section(page, 'Pages'), 3);
    expect([...documented].sort()).toEqual([...specified, ...pages].sort());
    const pathsOf = (names: readonly string[]) => [...new Set(names.map((route) => route.split(' ')[1]))];
    expect(pathsOf(documented)).toEqual(pathsOf([...specified, ...pages]));
  });

  it('names the scope of each route as /openapi.json does', async () => {
    const { routes } = await OpenApi.of((await startService()).url);
    for (const { method, path, operation } of routes) {
      const route = `${method} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`;
      const [, text = ''] = page.split(`\n### ${route}\n`);
      const [, scope] = /^\s*Scope `(\w+)`/.exec(text) ?? [];
      expect({ route, scope }).toEqual({ route, scope: operation.security[0]?.bearer[0] });
    }
  });
});

describe('testing-websocket.http', () => {
  const { requests } = parseHttpFile(read('testing-websocket.http'));
  const tried = requests.map(({ method, target }) => `${method} ${target.replace('{{baseUrl}}', '').split('?')[0]}`);

  it('tries every route', async () => {
    mockMounted.length = 0;
    await startService();
    expect(mockMounted.filter((route) => !tried.some(isCallOf(route)))).toEqual([]);
  });

  it('tries nothing else, except to show refusals', async () => {
    mockMounted.length = 0;
    await startService();
    const others = tried.filter((request) => !mockMounted.some((route) => isCallOf(route)(request)));
    expect(others).toEqual(['GET /websocket/message', 'PATCH /websocket/message/user']);
  });
});

/** Is a request one to this route? A parameter of the path is a variable of the file there, or a name. */
function isCallOf(route: string) {
  const pattern = new RegExp(`^${route.replaceAll(/:\w+/g, '(?:\\{\\{[^}]+\\}\\}|[\\w.-]+)')}$`);
  return (request: string) => pattern.test(request);
}

/** The names in backticks that rows of a table begin with. */
function firstCells(markdown: string): string[] {
  return Array.from(markdown.matchAll(/^\| `([^`]+)` \|/gm), ([, name = '']) => name);
}

describe('docs/reference/events.md', () => {
  const page = read('docs/reference/events.md');
  // What is written to connections directly, and what reaches them as an entry of a log.
  const sent = [
    ...namesInSources(/\b(?:send|emit|encodeEvent|encodeFrame)\(\s*(?:\w+,\s*)?'([^']+)'/g),
    ...namesInSources(/\bevent: '([^']+)'/g),
  ];
  // The tables only name operations; none is called here.
  const nothing = new Proxy({}, { get: () => ({}) }) as SocketOperations;

  it('has one heading for each event that the service sends', () => {
    const documented = headings(section(page, 'Server to client'), 3).filter((name) => name !== 'Custom events');
    expect(documented.sort()).toEqual(sorted(sent));
  });

  it('has every event that is reserved for the service: each one is sent', () => {
    expect(sorted(sent)).toEqual(sorted(SERVER_EVENTS));
  });

  it('has one heading for each event that clients may send', () => {
    const known = clientEvents(nothing).keys();
    expect(headings(section(page, 'Client to server'), 3).sort()).toEqual(sorted(known));
  });

  it('has each action of the plain endpoint in its table', () => {
    const rows = section(page, 'Plain WebSocket').matchAll(/^\| (`[^|]+) \|/gm);
    const documented = Array.from(rows, ([, actions = '']) => inBackticks(actions)).flat();
    expect(documented.sort()).toEqual(sorted(clientActions(nothing).keys()));
  });

  it('gives the price of each event and action that does not count as one, and of no other', () => {
    const table = [...clientEvents(nothing), ...clientActions(nothing)];
    // What may be cheaper is documented by its greatest price.
    const prices = table.map(([name, { price }]) => [name, typeof price === 'number' ? price : price({})] as const);
    const documented = Array.from(section(page, 'Limits').matchAll(/^\| (`.+) \| (\d+) \|$/gm)).flatMap(
      ([, names = '', price]) =>
        inBackticks(names.split(', with')[0] ?? '').map((name) => [name, Number(price)] as const),
    );
    const free = headings(section(page, 'Client to server'), 3).filter((name) =>
      (page.split(`\n### ${name}\n`)[1] ?? '').split('\n### ')[0]?.includes('It does not count as an event'),
    );
    expect(Object.fromEntries([...documented, ...free.map((name) => [name, 0] as const)])).toEqual(
      Object.fromEntries(prices.filter(([, price]) => price !== 1)),
    );
  });

  it('gives each closing code its close code, and says whether it is sent', () => {
    const rows = section(page, 'Closing codes').matchAll(/^\| `(\w+)` \| (\d+) \|.*\| (yes|not yet) \|$/gm);
    const documented = Array.from(rows, ([, code, plain, isSent]) => `${code}: ${plain}, ${isSent}`);
    const used = namesInSources(/(?:\bcode: |\b(?:end|disconnect)\([^;]*?,\s*)'(\w+)'/g);
    const expected = CLOSING_CODES.map(
      (code) => `${code}: ${WEBSOCKET_CLOSE_CODES[code]}, ${used.includes(code) ? 'yes' : 'not yet'}`,
    );
    expect(documented.sort()).toEqual(expected.sort());
  });
});

describe('/asyncapi.json', () => {
  interface Named {
    readonly name: string;
  }
  interface AsyncApiDocument {
    readonly channels: Readonly<Record<string, { readonly messages: Readonly<Record<string, Named>> }>>;
    readonly operations: Readonly<Record<string, { readonly action: string }>>;
  }
  const nothing = new Proxy({}, { get: () => ({}) }) as SocketOperations;
  const page = read('docs/reference/events.md');

  async function fetchDocument() {
    const { url } = await startService();
    return (await (await fetch(`${url}/asyncapi.json`)).json()) as AsyncApiDocument & Record<string, unknown>;
  }

  /** Names of the messages of an endpoint that go in one direction. */
  function namesOf({ channels }: AsyncApiDocument, endpoint: string, direction: 'server' | 'client'): string[] {
    const messages = Object.entries(channels[endpoint]?.messages ?? {});
    return messages.filter(([key]) => key.startsWith(`${direction}.`)).map(([, { name }]) => name);
  }

  it.each([
    ['socketIo', ['reply']],
    ['plain', ['reply', 'messageReceived']],
  ])('has the events that the service sends, at the endpoint %s', async (endpoint, others) => {
    const named = namesOf(await fetchDocument(), endpoint, 'server');
    const documented = headings(section(page, 'Server to client'), 3).filter((name) => !others.includes(name));
    expect(named.sort()).toEqual(documented.map((name) => (name === 'Custom events' ? 'custom' : name)).sort());
  });

  it('has the events that clients may send, and the actions of the plain endpoint', async () => {
    const document = await fetchDocument();
    expect(namesOf(document, 'socketIo', 'client').sort()).toEqual(sorted(clientEvents(nothing).keys()));
    expect(namesOf(document, 'plain', 'client').sort()).toEqual(sorted(clientActions(nothing).keys()));
  });

  it('has an operation for each message that is sent or received', async () => {
    const document = await fetchDocument();
    for (const endpoint of ['socketIo', 'plain']) {
      const counts = { send: 0, receive: 0 };
      for (const [name, { action }] of Object.entries(document.operations)) {
        if (name.startsWith(`${endpoint}.`)) counts[action as 'send' | 'receive'] += 1;
      }
      const [server, client] = [namesOf(document, endpoint, 'server'), namesOf(document, endpoint, 'client')];
      expect({ endpoint, ...counts }).toEqual({ endpoint, send: server.length, receive: client.length });
    }
  });

  it('has the closing codes and their close codes', async () => {
    const { channels, components } = await fetchDocument();
    const { schemas } = components as { schemas: Record<string, { properties: Record<string, { enum: string[] }> }> };
    expect(channels['plain']).toMatchObject({ 'x-close-codes': WEBSOCKET_CLOSE_CODES });
    expect(schemas['Closing']?.properties['code']?.enum).toEqual([...CLOSING_CODES]);
  });
});

describe('docs/reference/metrics.md', () => {
  const { registry } = idleMetrics();

  it('has one heading for each metric', async () => {
    const metrics = await registry.getMetricsAsJSON();
    expect(headings(read('docs/reference/metrics.md'), 2).sort()).toEqual(metrics.map(({ name }) => name).sort());
  });

  it('gives the type of each metric', async () => {
    for (const { name, type } of await registry.getMetricsAsJSON()) {
      const [word] = section(read('docs/reference/metrics.md'), name).trim().split(/[.,]/);
      expect({ name, type: word?.toLowerCase() }).toEqual({ name, type });
    }
  });
});

describe('npm scripts', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const namedIn = (path: string) =>
    Array.from(
      read(path).matchAll(/\bnpm (?:run (?:--silent )?([\w:-]+)|(test|start)\b)/g),
      ([, run, short]) => run ?? short,
    );

  it.each(PAGES)('has every script that %s names', (path) => {
    expect(namedIn(path).filter((name) => name === undefined || !Object.hasOwn(scripts, name))).toEqual([]);
  });

  it('are all in CONTRIBUTING.md', () => {
    const own = Object.keys(scripts).filter((name) => !/^(pre|post)/.test(name));
    expect(own.filter((name) => !namedIn('CONTRIBUTING.md').includes(name))).toEqual([]);
  });
});

/** The targets of links that do not lead to another site. */
function linksOf(markdown: string): string[] {
  const links = withoutCode(markdown).matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g);
  return Array.from(links, ([, target = '']) => target).filter((target) => !/^[a-z]+:/.test(target));
}

/** The anchors of a page as GitHub makes them: a repeated heading gets a number. */
function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of withoutCode(markdown).matchAll(/^#+ (.+)$/gm)) {
    const slug = heading
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-');
    let anchor = slug;
    for (let n = 1; anchors.has(anchor); n += 1) anchor = `${slug}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

function isResolved(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : relative(ROOT, join(ROOT, dirname(page), path));
  if (!existsSync(join(ROOT, target))) return false;
  if (anchor === undefined) return true;
  return statSync(join(ROOT, target)).isFile() && anchorsOf(read(target)).has(anchor);
}

describe('pages', () => {
  it.each(PAGES)('%s has links that lead somewhere', (page) => {
    expect(linksOf(read(page)).filter((link) => !isResolved(page, link))).toEqual([]);
  });

  it('README.md fits a screen', () => {
    expect(read('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(60);
  });

  it('are all reached from README.md', () => {
    const reached = new Set(['README.md']);
    for (const page of reached) {
      for (const link of linksOf(read(page))) {
        const [path = ''] = link.split('#');
        if (path.endsWith('.md')) reached.add(join(dirname(page), path));
      }
    }
    expect(PAGES.filter((page) => !reached.has(page))).toEqual([]);
  });
});
