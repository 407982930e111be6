/** Counts what a server asks its MongoDB: a way to the database on which messages of the protocol are counted. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { startMongoDbProxy } from '../../tests/support/mongodb-proxy';

export interface CommandCounter {
  /** The address of the same database on this way. */
  readonly url: string;
  /** Commands so far. */
  readonly count: number;
  close(): void;
}

export async function startCommandCounter(storeUrl: string): Promise<CommandCounter> {
  const url = new URL(storeUrl);
  const target = { host: url.hostname, port: Number(url.port) };
  let count = 0;
  const proxy = await startMongoDbProxy(target, (near, far) => {
    near.on(
      'data',
      countMessages(() => (count += 1)),
    );
    near.pipe(far).pipe(near);
  });
  url.host = `127.0.0.1:${proxy.port}`;
  return {
    url: url.href,
    get count() {
      return count;
    },
    close: proxy.close,
  };
}

const LENGTH_BYTES = 4;

/** The first four bytes of a message are its length, with them. Nothing is kept of the messages. */
function countMessages(note: () => void): (bytes: Buffer) => void {
  const length = Buffer.alloc(LENGTH_BYTES);
  let lengthBytes = 0;
  let rest = 0;
  return (bytes) => {
    for (let at = 0; at < bytes.length; ) {
      if (rest === 0) {
        length[lengthBytes] = bytes[at] ?? 0;
        lengthBytes += 1;
        at += 1;
        if (lengthBytes < LENGTH_BYTES) continue;
        rest = length.readInt32LE(0) - LENGTH_BYTES;
        lengthBytes = 0;
        note();
      }
      const taken = Math.min(rest, bytes.length - at);
      rest -= taken;
      at += taken;
    }
  };
}

/** The process on this machine that listens on a port of the loopback; `undefined` when it is not here, or not ours to see. */
export function findListener(port: number): number | undefined {
  const inode = inodeOf(port);
  if (inode === undefined) return undefined;
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const pid = pids.find((name) => filesOf(name).includes(`socket:[${inode}]`));
  return pid === undefined ? undefined : Number(pid);
}

const LISTENING = '0A';

function inodeOf(port: number): string | undefined {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((path) => readFileSync(path, 'utf8').split('\n').slice(1));
  const fields = lines.map((line) => line.trim().split(/\s+/));
  return fields.find(([, local, , state]) => local?.endsWith(suffix) === true && state === LISTENING)?.[9];
}

/** A process may end, or belong to somebody else, while it is looked at. */
function filesOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((name) => readlinkSync(`/proc/${pid}/fd/${name}`));
  } catch {
    return [];
  }
}
