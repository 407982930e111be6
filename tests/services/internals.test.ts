/** Each internal of another package that is relied on: when it is removed, the start notices, by name. */
import { existsSync, readFileSync } from 'node:fs';
import { Server as HttpServer, type IncomingMessage, ServerResponse } from 'node:http';
import { dirname, join, relative } from 'node:path';
import { HTTP_CHECK } from '../../features/self-check';
import { COLLECTOR_CHECK } from '../../services/admission/heap-guard';
import {
  checkInternals,
  describeMissing,
  INTERNALS,
  type InternalName,
  InternalsError,
  SERIES,
  type SelfCheck,
} from '../../services/internals';
import { SOCKETS_CHECK } from '../../services/sockets/self-check';
import { sourceFiles } from '../support/sources';
import { temporaryDirectory } from '../support/temporary';

const ROOT = join(__dirname, '../..');
const NAMES = Object.keys(INTERNALS) as InternalName[];
const CHECKS = [SOCKETS_CHECK, HTTP_CHECK, COLLECTOR_CHECK];
/** Looked for where they are opened: the log, and the engines. */
const ELSEWHERE = ['sonic-boom: fd', 'lmdb: data file', 'lmdb: reader list', 'mongodb: connection type'] as const;

type Class = { prototype: Record<string, (this: never, ...args: never[]) => unknown> };
type Session = Record<string, unknown> & { readonly transport: object; on(event: string, listener: () => void): void };

/** A file of a package that the package does not export. */
function inside(packageName: string, path: string): Record<string, Class> {
  const paths = packageName === 'engine.io' ? { paths: [require.resolve('socket.io')] } : {};
  return require(join(dirname(require.resolve(packageName, paths)), path)) as Record<string, Class>;
}

/** Replaces a method until the end of the test. */
function replace(of: Class | undefined, method: string, by: (original: never) => unknown): void {
  const { prototype } = of as Class;
  const isOwn = Object.hasOwn(prototype, method);
  const original = prototype[method] as never;
  prototype[method] = by(original) as Class['prototype'][string];
  restore.push(() => {
    if (isOwn) prototype[method] = original;
    else delete prototype[method];
  });
}

const restore: (() => void)[] = [];
afterEach(() => {
  for (const back of restore.splice(0).reverse()) back();
  jest.restoreAllMocks();
});

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Changes each session of Engine.IO before anybody has it. */
function spoilSessions(spoil: (session: Session, engine: Record<string, unknown>) => void): void {
  replace(
    inside('engine.io', 'server.js')['Server'],
    'emit',
    (emit: Method) =>
      function (this: unknown, ...args: unknown[]) {
        if (args[0] === 'connection') spoil(args[1] as Session, this as Record<string, unknown>);
        return emit.apply(this, args);
      },
  );
}

/** Changes each WebSocket of ws when it has its connection. */
function spoilWebSockets(spoil: (webSocket: Record<string, unknown>) => void): void {
  replace(
    require('ws') as Class,
    'setSocket',
    (setSocket: Method) =>
      function (this: unknown, ...args: unknown[]) {
        setSocket.apply(this, args);
        spoil(this as Record<string, unknown>);
      },
  );
}

const engineSocket = () => inside('engine.io', 'socket.js')['Socket'];
const polling = () => inside('engine.io', 'transports/polling.js')['Polling'];
const client = () => inside('socket.io', 'client.js')['Client'];
const response = ServerResponse as unknown as Class;

/** How to remove each of them. */
const MOVED: Readonly<Record<Exclude<InternalName, (typeof ELSEWHERE)[number]>, () => void>> = {
  'engine.io: request fields': () =>
    replace(inside('engine.io', 'server.js')['Server'], 'prepare', () => (request: { _query: object }) => {
      request._query = { EIO: '4', transport: 'other' };
    }),
  'engine.io: sessions': () =>
    spoilSessions(({ id }, engine) => {
      const { [String(id)]: session, ...others } = engine['clients'] as Record<string, unknown>;
      engine['clients'] = { ...others, [`${String(id)}, elsewhere`]: session };
    }),
  'engine.io: listeners of data': () => spoilSessions((session) => session.on('data', () => undefined)),
  'engine.io: write buffer': () => {
    type Queue = { queue?: object[]; flush(): void; transport: { writable: boolean; send(packets: object[]): void } };
    replace(
      engineSocket(),
      'sendPacket',
      () =>
        function (this: Queue, type: string, data: unknown, options = {}) {
          this.queue = [...(this.queue ?? []), { type, data, options }];
          this.flush();
        },
    );
    replace(
      engineSocket(),
      'flush',
      () =>
        function (this: Queue) {
          const packets = this.queue ?? [];
          if (packets.length > 0 && this.transport.writable) this.transport.send(packets.splice(0));
        },
    );
  },
  'engine.io: encoded frames': () =>
    replace(inside('engine.io', 'transports/websocket.js')['WebSocket'], '_canSendPreEncodedFrame', () => () => false),
  'engine.io: transport': () =>
    spoilSessions(({ transport }) => Object.defineProperty(transport, 'name', { value: 'another' })),
  'engine.io: payload parser': () =>
    replace(
      polling(),
      'onData',
      () =>
        function (this: { parser: { decodePayload(payload: string): void } }) {
          this.parser.decodePayload('4another');
        },
    ),
  'engine.io: closing by polling': () =>
    replace(
      polling(),
      'doClose',
      () =>
        function (this: { onClose(): void }, done: () => void) {
          done();
          this.onClose();
        },
    ),
  'engine.io: reasons': () =>
    replace(
      engineSocket(),
      'onClose',
      (onClose: Method) =>
        function (this: unknown, reason: unknown) {
          return onClose.call(this, `${String(reason)}, in other words`);
        },
    ),
  'socket.io: request listener': () =>
    replace(inside('socket.io', 'index.js')['Server'], 'attachServe', () => (server: HttpServer) => {
      server.on('request', () => undefined);
    }),
  'socket.io: _onpacket': () =>
    replace(
      client(),
      'ondecoded',
      (ondecoded: Method) =>
        function (this: { sockets: Map<string, { onevent: Method }> }, packet: unknown) {
          const [socket] = this.sockets.values();
          if (socket === undefined) ondecoded.call(this, packet);
          else process.nextTick(() => socket.onevent(packet));
        },
    ),
  'socket.io: decoder': () =>
    replace(
      client(),
      'setup',
      (setup: Method) =>
        function (this: { decoder: Record<string, Method> }) {
          setup.call(this);
          const { decoder } = this;
          const call =
            (name: string) =>
            (...args: unknown[]) =>
              decoder[name]?.(...args);
          this.decoder = {
            add: call('add'),
            destroy: call('destroy'),
            removeListener: call('removeListener'),
            on: () => this,
          };
        },
    ),
  'socket.io: ack': () =>
    replace(
      inside('socket.io', 'socket.js')['Socket'],
      'ack',
      () =>
        function (this: { packet: Method }, id: number) {
          return (reply: unknown) => this.packet({ id: id + 1, type: 3, data: [reply] });
        },
    ),
  'ws: _socket': () =>
    spoilWebSockets((webSocket) => {
      const connection = webSocket['_socket'] as object;
      Object.defineProperty(webSocket, '_socket', { value: new Proxy(connection, {}) });
    }),
  'ws: _receiver': () =>
    spoilWebSockets((webSocket) => {
      const unlimited = { get: () => Number.MAX_SAFE_INTEGER, set: () => undefined };
      Object.defineProperty(webSocket['_receiver'], '_maxPayload', unlimited);
    }),
  'ws: words of faults': () =>
    replace(
      require(join(dirname(require.resolve('ws')), 'lib/receiver.js')) as Class,
      'createError',
      (create: Method) =>
        function (this: unknown, ...args: unknown[]) {
          return create.call(this, args[0], 'said otherwise', ...args.slice(2));
        },
    ),
  'express: prototypes': () => spoilExpress((app) => Object.assign(app, { request: Object.create(app.request) })),
  'express: unanswered': () => spoilExpress((_app, args) => args.pop()),
  'node: _httpMessage': () =>
    replace(
      response,
      'assignSocket',
      (assign: Method) =>
        function (this: unknown, connection: unknown) {
          assign.call(this, connection);
          delete (connection as { _httpMessage?: unknown })._httpMessage;
        },
    ),
  'node: socket of a response': () =>
    replace(
      response,
      'assignSocket',
      (assign: Method) =>
        function (this: { emit?: Method }, connection: unknown) {
          this.emit = () => false;
          assign.call(this, connection);
          delete this.emit;
        },
    ),
  'node: upgrade': () =>
    replace(
      HttpServer as unknown as Class,
      'emit',
      (emit: Method) =>
        function (this: unknown, ...args: unknown[]) {
          const isOffer = args[0] === 'request' && (args[1] as IncomingMessage).headers.upgrade !== undefined;
          return emit.apply(this, isOffer ? ['upgrade', ...args.slice(1)] : args);
        },
    ),
  'node: gc': () => {
    jest.spyOn(jest.requireActual<typeof import('node:vm')>('node:vm'), 'runInNewContext').mockReturnValue(undefined);
  },
};

interface ExpressApp {
  readonly request: object;
}

function spoilExpress(spoil: (app: ExpressApp, args: unknown[]) => void): void {
  const { application } = jest.requireActual<{ application: { handle: Method } }>('express');
  const { handle } = application;
  application.handle = function (this: unknown, ...args: unknown[]) {
    spoil(this as ExpressApp, args);
    return handle.apply(this, args);
  };
  restore.push(() => {
    application.handle = handle;
  });
}

async function missingOf({ names, run }: SelfCheck): Promise<InternalName[]> {
  const found = new Set(await run());
  return names.filter((name) => !found.has(name));
}

it('each is checked, once', () => {
  const looked = [...CHECKS.flatMap(({ names }) => names), ...ELSEWHERE];
  expect(looked.sort()).toEqual([...NAMES].sort());
});

it.each(CHECKS)('the installed packages are as they have to be: $names', async (check) => {
  expect(await missingOf(check)).toEqual([]);
});

it.each(Object.keys(MOVED) as (keyof typeof MOVED)[])('the loss of %s is noticed', async (name) => {
  MOVED[name]();
  const check = CHECKS.find(({ names }) => names.includes(name)) as SelfCheck;
  expect(await missingOf(check)).toContain(name);
});

it('the loss of sonic-boom: fd is noticed', () => {
  jest.isolateModules(() => {
    const { default: pino } = jest.requireActual<{ default: typeof import('pino').default }>('pino');
    const output = { fd: 1, on: () => output, write: () => true, flushSync: () => undefined };
    jest.spyOn(pino, 'destination').mockReturnValue(output as never);
    const { createLogger, LOG_CHECK } = jest.requireActual<typeof import('../../services/observability/logger')>(
      '../../services/observability/logger',
    );
    expect([...(LOG_CHECK.run() as Iterable<InternalName>)]).toEqual(['sonic-boom: fd']);
    createLogger({ LOG_LEVEL: 'silent', NODE_ENV: 'production', NODE_ID: undefined } as never);
    expect([...(LOG_CHECK.run() as Iterable<InternalName>)]).toEqual([]);
  });
});

it.each([
  ['lmdb: data file', { getStats: () => ({ pageSize: 4_097, treeDepth: 0 }) }],
  ['lmdb: reader list', { readerList: () => 'process,thread\n' }],
] as const)('%s is missed when it has moved', async (name, other) => {
  const lmdb = jest.requireActual<typeof import('lmdb')>('lmdb');
  jest.doMock('lmdb', () => ({
    ...lmdb,
    open: (options: never) => {
      const root = lmdb.open(options);
      restore.push(() => void root.close().catch(() => undefined));
      return Object.assign(root, other);
    },
  }));
  restore.push(() => jest.dontMock('lmdb'));
  await jest.isolateModulesAsync(async () => {
    const { Environment } = await import('../../services/storage/lmdb/environment.ts');
    expect(() => new Environment(temporaryDirectory())).toThrow(describeMissing(name));
  });
});

it.each([
  ['the class is elsewhere', 'mongodb/lib/cmap/connection', () => ({})],
  [
    'the option is not heeded',
    'mongodb',
    () => ({
      ...jest.requireActual<object>('mongodb'),
      MongoClient: class {
        options = {};
      },
    }),
  ],
] as const)('mongodb: connection type is missed when %s', async (_case, path, factory) => {
  jest.doMock(path, factory);
  restore.push(() => jest.dontMock(path));
  await jest.isolateModulesAsync(async () => {
    const { withEndingCommands } = await import('../../services/storage/mongodb/driver.ts');
    expect(withEndingCommands).toThrow(describeMissing('mongodb: connection type'));
  });
});

describe('at start', () => {
  const check = (...names: InternalName[]): SelfCheck => ({ names, run: () => [] });

  it('is refused without what is needed, and the sentence says which package has changed', async () => {
    const warn = jest.fn();
    const start = checkInternals([check('engine.io: sessions'), check('node: gc')], { warn });
    await expect(start).rejects.toThrow(InternalsError);
    await expect(start).rejects.toThrow(
      /^engine\.io 6\.6\.\d+ is installed, and its internal “sessions” is not as in 6\.6, /,
    );
    expect(warn.mock.calls).toEqual([[{ internal: 'node: gc' }, expect.stringContaining('memory is taken for full')]]);
  });

  it('warns of what the service can do without', async () => {
    const warn = jest.fn();
    await checkInternals([check('sonic-boom: fd')], { warn });
    expect(warn.mock.calls).toEqual([[expect.anything(), expect.stringMatching(/^sonic-boom 4\.2\.\d+ is installed/)]]);
  });

  it('packages are checked once in a process', async () => {
    const run = jest.fn(() => []);
    const once: SelfCheck = { names: [], run };
    await checkInternals([once], { warn: jest.fn() });
    await checkInternals([once], { warn: jest.fn() });
    expect(run).toHaveBeenCalledTimes(1);
  });
});

describe('docs/decisions/internals.md', () => {
  const page = readFileSync(join(ROOT, 'docs/decisions/internals.md'), 'utf8');
  const rows = Array.from(page.matchAll(/^\| `([^`]+)` \| (.*) \|$/gm), ([, name = '', rest = '']) => ({
    name,
    files: Array.from(rest.matchAll(/`((?:services|features|handlers|utils)\/[^`]+)`/g), ([, file = '']) => file),
  }));

  it('has a row for each that is checked, and for no other', () => {
    const checked = page.slice(0, page.indexOf('\n## Seen only'));
    const names = Array.from(checked.matchAll(/^\| `([^`]+: [^`]+)` \|/gm), ([, name = '']) => name);
    expect(names.sort()).toEqual([...NAMES].sort());
  });

  it.each(rows)('names the files of $name', ({ files }) => {
    expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
    expect(files.length).toBeGreaterThan(0);
  });

  it('names every file that uses an internal', () => {
    const named = new Set(rows.flatMap(({ files }) => files));
    const reaching = sourceFiles(['features', 'handlers', 'services', 'utils']).filter((file) => {
      const code = readFileSync(file, 'utf8').replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '');
      // A private field of another object, or a file that a package does not export. `_id` is a document's, `_zod`
      // documented.
      return /(\.|readonly |[?&] \{ )_(?!id\b|zod\b)[a-zA-Z]+\b|require\('[a-z@][^']*\/lib\//.test(code);
    });
    const names = reaching.map((file) => relative(ROOT, file)).filter((file) => !named.has(file));
    // The file that checks them.
    expect(names).toEqual(['services/sockets/self-check.ts']);
  });
});

describe('package.json', () => {
  interface Manifest {
    readonly dependencies: Readonly<Record<string, string>>;
    readonly overrides: Readonly<Record<string, string>>;
  }
  const { dependencies, overrides } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
  const packages = Object.keys(SERIES).filter((name) => name !== 'node') as Exclude<keyof typeof SERIES, 'node'>[];

  it.each(packages)('lets %s move within the series that was read, and no further', (name) => {
    expect(dependencies[name] ?? overrides[name]).toMatch(
      new RegExp(`^~${SERIES[name].replaceAll('.', '\\.')}\\.\\d+$`),
    );
  });
});
