/** The connection to MongoDB: timeouts, consistency, and what the operator reads when it cannot be opened. */
import { randomUUID } from 'node:crypto';
import { type Db, type DbOptions, MongoClient, type MongoClientOptions, ReadConcern, ReadPreference } from 'mongodb';
import { hideCredentials } from '../../../utils/hide-credentials';
import { StoreOpenError } from '../contract';
import { withEndingCommands } from './driver';
import { ignoringDuplicates, messageOf } from './errors';
import { type Collections, collectionsOf, EARLIER_LAYOUT, LAYOUT_VERSION, makeIndexes, removalId } from './layout';

/** A call of the store ends after this time, whatever the server does. */
export const CALL_DEADLINE_MS = 10_000;
/** For a silent host; refused connections and wrong passwords fail at once. */
const SELECTION_TIMEOUT_MS = 3_000;
/** Longer than any command takes on a working server, and short enough to give up on one that hangs. */
const SOCKET_TIMEOUT_MS = 8_000;
const MAX_POOL_SIZE = 50;

/** Majority both ways: an election cannot roll back what was acknowledged or read, so no `seq` is given twice. */
const CONSISTENCY: DbOptions = {
  writeConcern: { w: 'majority', journal: true, wtimeoutMS: 5_000 },
  readConcern: new ReadConcern('majority'),
  readPreference: ReadPreference.primary,
};

const OPTIONS: MongoClientOptions = {
  appName: 'tidings',
  serverSelectionTimeoutMS: SELECTION_TIMEOUT_MS,
  connectTimeoutMS: SELECTION_TIMEOUT_MS,
  socketTimeoutMS: SOCKET_TIMEOUT_MS,
  maxPoolSize: MAX_POOL_SIZE,
  waitQueueTimeoutMS: SOCKET_TIMEOUT_MS,
  /** Fields that are undefined are not there, in documents and in filters. */
  ignoreUndefined: true,
  promoteBuffers: true,
};

export interface Connection {
  readonly client: MongoClient;
  readonly collections: Collections;
  /** Names this store: created with its database. */
  readonly identity: string;
}

/** Connects, and creates missing indexes. @throws StoreOpenError for the operator, without the password. */
export async function connect(url: string): Promise<Connection> {
  let client: MongoClient | undefined;
  try {
    refuseWithoutDatabase(url);
    client = makeClient(url);
    await client.connect();
    // On the database, where options of the address do not take precedence.
    return { client, ...(await prepare(client.db(undefined, CONSISTENCY))) };
  } catch (error) {
    await client?.close().catch(() => undefined);
    throw toOpenError(error, url);
  }
}

/** Parses the address as the driver does, without connecting. @throws StoreOpenError. */
export function checkAddress(url: string): void {
  try {
    refuseWithoutDatabase(url);
    makeClient(url);
  } catch (error) {
    throw toOpenError(error, url);
  }
}

function toOpenError(error: unknown, url: string): StoreOpenError {
  if (error instanceof StoreOpenError) return error;
  return openError(url, `cannot be opened: ${withoutSecrets(messageOf(error), url)}`);
}

/** @throws what the driver says of the address and its options. */
function makeClient(url: string): MongoClient {
  // First without our options, which would keep the driver from checking those of the address.
  void new MongoClient(url);
  return new MongoClient(url, { ...OPTIONS, ...withEndingCommands() });
}

function refuseWithoutDatabase(url: string): void {
  const [, name] = /^mongodb(?:\+srv)?:\/\/[^/]+\/([^?]+)/.exec(url) ?? [];
  if (name === undefined) throw openError(url, 'has no name of a database: write mongodb://HOST/DATABASE');
  if (/[\s/\\."$]/.test(decoded(name)))
    throw openError(url, 'names a database with a blank or one of / \\ . " $ in it');
}

async function prepare(db: Db): Promise<Omit<Connection, 'client'>> {
  const collections = collectionsOf(db);
  const identity = await openLayout(collections);
  await makeIndexes(db);
  return { collections, identity };
}

async function openLayout({ meta, removals }: Collections): Promise<string> {
  const update = { $setOnInsert: { version: LAYOUT_VERSION, identity: randomUUID() } };
  await meta.updateOne({ _id: 'layout' }, update, { upsert: true }).catch(() => undefined);
  if ((await meta.findOne({ _id: 'layout' }))?.version === EARLIER_LAYOUT) await bringOver({ meta, removals });
  const { version, identity } = (await meta.findOne({ _id: 'layout' })) ?? {};
  if (version === LAYOUT_VERSION && identity !== undefined) return identity;
  throw new StoreOpenError(
    `The database of STORE_URL has layout ${version}, and this version reads ${LAYOUT_VERSION}: start the version that wrote it.`,
  );
}

/** Work that takes long is done later, in parts, while nodes of the version before keep running. */
async function bringOver({ meta, removals }: Pick<Collections, 'meta' | 'removals'>): Promise<void> {
  const fields = { kind: 'listing', name: '', generation: 0, at: 0, freeAt: 0, upTo: 0 } as const;
  const listing = { _id: removalId('listing', ''), ...fields };
  await ignoringDuplicates(removals.insertOne(listing));
  await meta.updateOne({ _id: 'layout', version: EARLIER_LAYOUT }, { $set: { version: LAYOUT_VERSION } });
}

function openError(url: string, reason: string): StoreOpenError {
  return new StoreOpenError(`The store at ${hideCredentials(url)} ${reason}. Check STORE_URL and the server.`);
}

/** The driver quotes what it cannot read. */
function withoutSecrets(reason: string, url: string): string {
  const [, credentials = ''] = /\/\/(.*)@/s.exec(url) ?? [];
  const password = credentials.slice(credentials.indexOf(':') + 1);
  const secrets = [url, credentials, password, decoded(password)].filter((secret) => secret.length > 0);
  return secrets.reduce((text, secret) => text.replaceAll(secret, '***'), reason);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // It is not encoded.
    return text;
  }
}
