/** The engine for several nodes: what the contract says of devices, deletion, erasure and pages. */
import { randomBytes } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { openMongoStore } from '../../../../services/storage/mongodb/store';
import { describeDeviceContract } from '../../../contracts/devices.contract';
import { SettableClock, type StoreHarness } from '../../../contracts/support';
import { describeWith } from '../../../support/needs';
import { onTestEnd } from '../../../support/temporary';

const url = process.env['TEST_MONGODB_URL'];

/** A database of its own for each test, which goes at its end. */
function makeHarness(): StoreHarness {
  const database = new URL(url ?? '');
  database.pathname = `/tidings-test-${randomBytes(8).toString('hex')}`;
  onTestEnd(async () => {
    const client = await MongoClient.connect(database.href);
    await client.db().dropDatabase();
    await client.close();
  });
  const clock = new SettableClock();
  return { clock, open: () => openMongoStore(database.href, clock) };
}

describeWith('a MongoDB (TEST_MONGODB_URL)', url !== undefined)('with a server,', () => {
  describeDeviceContract('mongodb', makeHarness);
});
