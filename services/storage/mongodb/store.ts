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
import type { Collections, Database } from './layout';
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

/** Opens the store in the database that the URL names, or creates it. @throws StoreOpenError within 10 s. */
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
  const parts = partsOf({ collections, clock, turns: new Turns() }, calls, onFlush);
  const { log, changes, sweeps, devices, users, topics, memberships, inbox, list } = parts;
  const { receipts, schedule, keys, revocations, audit, erasures } = parts;
  let closing: Promise<void> | undefined;
  const close = async () => {
    await calls.close();
    // Leases that are not freed here end by themselves.
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
    inbox: { ...wrap(list, timed, 'list'), ...wrap(inbox, timed, 'counts', 'counted', 'changeStates') },
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

function partsOf(db: Database, calls: Calls, onFlush: FlushListener) {
  const { collections } = db;
  const claims = new Claims(collections);
  const marks = new Marks(collections);
  const later = (work: () => Promise<void>) => void calls.sweep(work).catch(() => undefined);
  const facts = new Facts(db, { marks, later });
  const log = new Log(db, { marks, facts });
  const graves = new Graves(collections, facts);
  const collapse = new Collapse(db, { log, marks, graves });
  const writer = new Writer(db, { claims, log, replacing: collapse, onFlush });
  const sweeps = new Sweeps(db, { claims, log, marks });
  const memberships = new Memberships(collections, log);
  const inbox = new Inbox(db, { log, marks, facts, memberships, writer });
  const users = new Users(collections);
  const list = new InboxList({ inbox, log, marks, facts });
  const devices = new Devices(db, { log, marks, inbox, list, memberships });
  const topics = new Topics(db, { log, marks, sweeps, memberships });
  const schedule = new Schedule(db, { claims, writer, memberships });
  const keys = new Keys(db, calls);
  const removals = new Removals(db, { topics, marks, sweeps });
  return {
    ...{ log, sweeps, devices, users, topics, memberships, inbox, list, writer, schedule, keys },
    changes: new Changes(db, { log, writer, graves, collapse }),
    receipts: new Receipts(collections, { marks, memberships }),
    revocations: new Revocations(db),
    audit: new Audit(collections),
    erasures: new Erasures(db, { log, marks, writer, sweeps, topics, memberships, schedule, removals }),
  };
}

function probe({ meta }: Collections): Promise<void> {
  return upsert(meta, 'probe', { $set: { nonce: new ObjectId() } });
}
