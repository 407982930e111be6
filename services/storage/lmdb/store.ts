/**
 * The embedded engine: LMDB through lmdb-js, one node, one directory. With `overlappingSync: false` a transaction
 * resolves after its fdatasync; the scenario of fault F2 in tests/chaos verifies that.
 */
import { realpathSync } from 'node:fs';
import type { Clock } from '../../../utils/clock';
import { prepareDirectory } from '../../../utils/directory';
import { type FlushListener, type OwnStore, StoreOpenError } from '../contract';
import { type Around, wrap } from '../wrap';
import { Access } from './access';
import { Audit } from './audit';
import { Devices } from './devices';
import { Environment, inUse } from './environment';
import { Erasures } from './erasures';
import { Inbox } from './inbox';
import { Keys } from './keys';
import type { Trees } from './layout';
import { Log } from './log';
import { Marks } from './marks';
import { Memberships } from './memberships';
import { Pruning } from './pruning';
import { messageOf, WriteQueue } from './queue';
import { Receipts } from './receipts';
import { Removals } from './removals';
import { Revocations } from './revocations';
import { Schedule } from './schedule';
import { Topics } from './topics';
import { Users } from './users';

const directoriesInUse = new Set<string>();

/**
 * Opens the store in a directory, which is created if needed.
 * @throws StoreOpenError when it is damaged, in use by another process, or of another version.
 */
export function openLmdbStore(directory: string, clock: Clock, onFlush: FlushListener = () => {}): OwnStore {
  const path = pathOf(directory);
  if (directoriesInUse.has(path)) throw inUse(directory, `this process (${process.pid})`);
  try {
    const environment = new Environment(path);
    directoriesInUse.add(path);
    const queue = new WriteQueue(environment, path, onFlush);
    return storeIn(environment, queue, { clock, onClose: () => directoriesInUse.delete(path) });
  } catch (error) {
    if (error instanceof StoreOpenError) throw error;
    throw new StoreOpenError(
      `The store in ${directory} cannot be opened: ${messageOf(error)}. Check DATA_DIR, or STORE_URL if that names the directory.`,
      error,
    );
  }
}

function pathOf(directory: string): string {
  const fault = prepareDirectory(directory);
  if (fault === undefined) return realpathSync(directory);
  throw new StoreOpenError(
    `The directory of the store, ${directory}, ${fault}. Check DATA_DIR, or STORE_URL if that names the directory.`,
  );
}

function storeIn(
  environment: Environment,
  queue: WriteQueue,
  { clock, onClose }: { readonly clock: Clock; readonly onClose: () => void },
): OwnStore {
  const access = new Access(environment, queue, clock);
  const parts = partsOf(access);
  return {
    isShared: false,
    ...callsOf(parts, access),
    get queuedWrites() {
      return queue.length;
    },
    get heldClaims() {
      return parts.keys.heldClaims;
    },
    probe: () => access.write(() => probe(environment.trees)),
    close: async () => {
      if (!(await access.close())) return;
      await environment.close();
      onClose();
    },
  };
}

/** How each call reaches the environment; what it does there is in the other files. */
function callsOf(
  { log, pruning, devices, users, topics, memberships, inbox, ...parts }: ReturnType<typeof partsOf>,
  access: Access,
): Omit<OwnStore, 'isShared' | 'queuedWrites' | 'heldClaims' | 'probe' | 'close'> {
  const { receipts, schedule, keys, revocations, audit, erasures } = parts;
  const write: Around = (work) => access.write(work);
  const read: Around = (work) => access.reading(work);
  const walk: Around = (work) => access.walking(async () => work());
  const compose: Around = async (work) => work();
  return {
    log: {
      ...wrap(log, compose, 'append', 'expire'),
      ...wrap(pruning, compose, 'prune'),
      ...wrap(log, walk, 'read', 'history', 'find'),
      ...wrap(log, read, 'head'),
      ...wrap(log, write, 'update', 'retract'),
    },
    devices: {
      ...wrap(devices, compose, 'open', 'saveSeen', 'forgetSilent'),
      ...wrap(devices, read, 'list'),
      saveCursors: access.saving((cursors) => devices.saveCursors(cursors)),
      saveSent: access.saving((sendings) => devices.saveSent(sendings)),
    },
    users: {
      ...wrap(erasures, compose, 'erase'),
      ...wrap(users, read, 'get'),
      saveLastSeen: access.saving((times) => users.saveLastSeen(times)),
    },
    topics: {
      ...wrap(topics, compose, 'delete'),
      ...wrap(topics, read, 'get', 'visibleTo'),
      ...wrap(memberships, read, 'isMember', 'members', 'memberships'),
      ...wrap(topics, write, 'create', 'addMember', 'removeMember'),
    },
    inbox: { ...wrap(inbox, walk, 'list', 'counts', 'counted'), ...wrap(inbox, compose, 'changeStates') },
    receipts: wrap(receipts, walk, 'of'),
    schedule: {
      ...wrap(schedule, compose, 'appendDue'),
      ...wrap(schedule, read, 'list', 'sendersOf'),
      ...wrap(schedule, write, 'add', 'cancel'),
    },
    keys: {
      ...wrap(keys, compose, 'claim', 'forget'),
      ...wrap(keys, read, 'release'),
      ...wrap(keys, write, 'keepAnswer'),
    },
    revocations: {
      ...wrap(revocations, compose, 'forget'),
      ...wrap(revocations, read, 'list'),
      ...wrap(revocations, write, 'keep'),
    },
    audit: {
      ...wrap(audit, compose, 'prune'),
      ...wrap(audit, read, 'list'),
      save: access.saving((entries) => audit.save(entries)),
    },
    removals: wrap(erasures, compose, 'advance'),
  };
}

function partsOf(access: Access) {
  const { trees } = access;
  const marks = new Marks(trees);
  const memberships = new Memberships(trees);
  const log = new Log(access, { marks, memberships });
  const inbox = new Inbox(access, { log, marks, memberships });
  const endErasure = (userId: string) => erasures.end(userId);
  const devices = new Devices(access, { log, marks, inbox, memberships, endErasure });
  const topics = new Topics(access, { log, marks, memberships, devices });
  const schedule = new Schedule(access, { log, memberships });
  const keys = new Keys(access);
  const removals = new Removals(access, { log, marks, memberships, devices, topics, schedule, keys });
  const erasures = new Erasures(access, { log, removals });
  return {
    ...{ log, devices, topics, memberships, inbox, schedule, keys, erasures },
    pruning: new Pruning(access, log),
    users: new Users(trees),
    receipts: new Receipts(access, { marks, memberships }),
    revocations: new Revocations(access),
    audit: new Audit(access),
  };
}

function probe({ meta }: Trees): void {
  meta.put('probe', ((meta.get('probe') ?? 0) + 1) % Number.MAX_SAFE_INTEGER);
}
