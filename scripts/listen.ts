/**
 * Shows what a user gets, as it comes.
 *   npm run listen -- --sub user123
 */
import { hostname } from 'node:os';
import { readCommandLine, UsageError } from '../utils/command-line';
import { inputSentences } from '../utils/input-sentences';
import { deviceSchema } from '../utils/schemas';
import { readAccess } from './support/access';
import { COMMON_OPTIONS, readCount } from './support/arguments';
import { listenPlainly } from './support/listen-plain';
import { listenBySocketIo } from './support/listen-socketio';
import { Screen } from './support/screen';
import { type Command, runHere } from './support/terminal';

const USAGE = `Shows what a user receives: first everything that is waiting, then messages live. Ctrl-C ends.

Usage:
  npm run listen -- --sub USER

  --sub USER      whose messages
  --device NAME   the device; messages it has printed do not come again. Default: terminal-HOSTNAME
  --count N       end after N messages
  --plain         use the plain WebSocket endpoint instead of Socket.IO
  --json          print each event as one line of JSON

Service:
  --url URL       default: http://localhost:PORT
  --token TOKEN   instead of --sub; default: TIDINGS_TOKEN, otherwise a token made here
`;

const OPTIONS = {
  ...COMMON_OPTIONS,
  sub: { type: 'string' },
  device: { type: 'string' },
  count: { type: 'string' },
  plain: { type: 'boolean', default: false },
} as const;

type Given = ReturnType<typeof readCommandLine<typeof OPTIONS>>['values'];

const MAX_COUNT = 1_000_000;
const MAX_DEVICE_LENGTH = 128;

export const listen: Command = async (args, terminal) => {
  const given = readCommandLine(args, { options: OPTIONS, usage: USAGE, env: terminal.env }).values;
  if (given.help) {
    terminal.stdout.write(USAGE);
    return 0;
  }
  const screen = new Screen({
    terminal,
    access: readAccess(given, terminal.env, {}),
    device: readDevice(given),
    maxCount: readMaxCount(given),
    isJson: given.json,
  });
  await screen.show(given.plain ? listenPlainly : listenBySocketIo);
  return 0;
};

function readMaxCount({ count }: Given): number {
  return count === undefined
    ? Number.POSITIVE_INFINITY
    : readCount('--count', count, { minimum: 1, maximum: MAX_COUNT });
}

/** The same on every run: it has its own place in the log. */
function readDevice({ device = `terminal-${hostname()}`.slice(0, MAX_DEVICE_LENGTH) }: Given): string {
  const parsed = deviceSchema.safeParse(device, inputSentences);
  if (!parsed.success) throw new UsageError(`--device ${parsed.error.issues[0]?.message}.`);
  return device;
}

if (require.main === module) void runHere(listen);
