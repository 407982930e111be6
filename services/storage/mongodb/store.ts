/**
 * The engine for several nodes: MongoDB, or a server that speaks its protocol. Nothing here needs transactions,
 * counters, partial indexes, pipeline updates or change streams: see docs/decisions/0013-mongodb-without-transactions.md.
 */

import { ObjectId } from 'mongodb';
import type { Clock } from '../../../utils/clock';
import type { FlushListener, SharedStore } from '../contract';
import { Turns } from '../turns';
import { type Around, wrap } from '../wrap';
import { Audit } from './audit';
import { Calls } from './calls';
import { Changes, Collapse, Graves } from './changes';
import { Claims } from './claims';
import { upsert } from './commands';
import { type Connection, connect } from './connection';
import { Devices } from './devices';
import { Erasures } from './erasures';
import { Facts } from './facts';
import { Inbox } from './inbox';
import { Keys } from './keys';
import type { Collections } from './layout';
import { InboxList } from './list';
import { Log } from './log';
import { Marks } from './marks';
import { Memberships } from './memberships';
import { Receipts } from './receipts';
import { Recent } from './recent';
import { Removals } from './removals';
import { Revocations } from './revocations';
import { Schedule } from './schedule';
import { Sweeps } from './sweeps';
import { Topics } from './topics';
import { Users } from './users';
import { Writer } from './writer';

/**
 * Opens the store in the database that the URL names, and creates collections and indexes if needed.
 * @throws StoreOpenError within ten seconds.
 */
export async function openMongoStore(
  url: string,
  clock: Clock,
  onFlush: FlushListener = () => {},
): Promise<SharedStore> {
  return storeAt(await connect(url), clock, onFlush);
}

/** Which calls have a deadline; what they do is in the other files. */
function storeAt({ client, collections, identity }: Connection, clock: Clock, onFlush: FlushListener): SharedStore {
  const calls = new Calls();
  const parts = partsOf(collections, { calls, clock, onFlush });
  const { log, changes, sweeps, devices, users, topics, memberships, inbox, list } = parts;
  const { receipts, schedule, keys, revocations, audit, erasures } = parts;
  let closing: Promise<void> | undefined;
  const close = async () => {
    await calls.close();
    // What fails here ends by itself after a while.
    await keys.close().catch(() => undefined);
    await client.close();
  };
  const timed: Around = (work) => calls.call(async () => work());
  const long: Around = (work) => calls.sweep(async () => work());
  return {
    isShared: true,
    identity,
    log: {
      ...wrap(log, timed, 'read', 'history', 'head', 'find'),
      ...wrap(changes, timed, 'append', 'update', 'retract'),
      ...wrap(changes, long, 'expire'),
      ...wrap(sweeps, long, 'prune'),
    },
    devices: {
      ...wrap(devices, timed, 'open', 'list', 'saveCursors', 'saveSeen', 'saveSent'),
      ...wrap(devices, long, 'forgetSilent'),
    },
    users: { ...wrap(users, timed, 'get', 'saveLastSeen'), ...wrap(erasures, long, 'erase') },
    topics: {
      ...wrap(topics, timed, 'create', 'get', 'visibleTo', 'delete', 'addMember', 'removeMember'),
      ...wrap(memberships, timed, 'isMember', 'members', 'memberships'),
    },
    inbox: { ...wrap(list, timed, 'list'), ...wrap(inbox, timed, 'counts', 'changeStates') },
    receipts: wrap(receipts, timed, 'of'),
    schedule: { ...wrap(schedule, timed, 'add', 'list', 'sendersOf', 'cancel'), ...wrap(schedule, long, 'appendDue') },
    keys: {
      claim: (key, fingerprint) => keys.claim(key, fingerprint),
      ...wrap(keys, timed, 'keepAnswer', 'release'),
      ...wrap(keys, long, 'forget'),
    },
    revocations: { ...wrap(revocations, timed, 'keep', 'list'), ...wrap(revocations, long, 'forget') },
    audit: { ...wrap(audit, timed, 'save', 'list'), ...wrap(audit, long, 'prune') },
    removals: wrap(erasures, long, 'advance'),
    recent: wrap(new Recent(collections), timed, 'heads', 'memberships', 'revocations'),
    get queuedWrites() {
      return parts.writer.queuedLines;
    },
    get heldClaims() {
      return keys.heldClaims;
    },
    probe: () => calls.call(() => probe(collections)),
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function partsOf(
  collections: Collections,
  { calls, clock, onFlush }: { calls: Calls; clock: Clock; onFlush: FlushListener },
) {
  const now = () => clock.now();
  const turns = new Turns();
  const claims = new Claims(collections);
  const marks = new Marks(collections);
  const later = (work: () => Promise<void>) => void calls.sweep(work).catch(() => undefined);
  const facts = new Facts(collections, { marks, clock, later });
  const log = new Log(collections, { marks, facts, clock });
  const graves = new Graves(collections, facts);
  const collapse = new Collapse(collections, graves, { log, marks, clock });
  const writer = new Writer(collections, { claims, log, clock, replacing: collapse, onFlush });
  const sweeps = new Sweeps(collections, { claims, log, marks, turns });
  const memberships = new Memberships(collections, log);
  const inbox = new Inbox(collections, { log, marks, facts, memberships, writer, clock, turns });
  const users = new Users(collections);
  const list = new InboxList({ inbox, log, marks, facts });
  const devices = new Devices(collections, { log, marks, inbox, list, memberships, turns, clock });
  const topics = new Topics(collections, { log, marks, sweeps, memberships, turns, now });
  const schedule = new Schedule(collections, { claims, writer, memberships, turns, clock });
  const keys = new Keys(collections, clock, calls);
  const removals = new Removals(collections, { topics, marks, sweeps, now });
  const erased = { log, marks, writer, sweeps, users, devices, topics, memberships, schedule, keys };
  return {
    ...{ log, sweeps, devices, users, topics, memberships, inbox, list, writer, schedule, keys },
    changes: new Changes(collections, { log, marks, clock, writer, graves, collapse, turns }),
    receipts: new Receipts(collections, { marks, memberships }),
    revocations: new Revocations(collections, clock),
    audit: new Audit(collections),
    erasures: new Erasures(collections, { ...erased, removals, turns }),
  };
}

function probe({ meta }: Collections): Promise<void> {
  return upsert(meta, 'probe', { $set: { nonce: new ObjectId() } });
}
