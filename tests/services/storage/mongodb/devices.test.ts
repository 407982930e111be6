/** The engine for several nodes: the contract of devices, deletion, erasure and pages. */
import { openMongoStore } from '../../../../services/storage/mongodb/store';
import { describeDeviceContract } from '../../../contracts/devices.contract';
import { SettableClock, type StoreHarness } from '../../../contracts/support';
import { MONGODB_URL, newDatabase } from '../../../support/cluster';
import { describeWith } from '../../../support/needs';

/** A database of its own for each test. */
function makeHarness(): StoreHarness {
  const database = newDatabase();
  const clock = new SettableClock();
  return { clock, open: () => openMongoStore(database, clock) };
}

describeWith('a MongoDB (TEST_MONGODB_URL)', MONGODB_URL !== undefined)('with a server,', () => {
  describeDeviceContract('mongodb', makeHarness);
});
