/** The embedded engine: the contract of devices, deletion, erasure and pages. */
import { openLmdbStore } from '../../../../services/storage/lmdb/store';
import { describeDeviceContract } from '../../../contracts/devices.contract';
import { SettableClock, type StoreHarness } from '../../../contracts/support';
import { temporaryDirectory } from '../../../support/temporary';

function makeHarness(): StoreHarness {
  const directory = temporaryDirectory();
  const clock = new SettableClock();
  return { clock, open: () => openLmdbStore(directory, clock) };
}

describeDeviceContract('lmdb', makeHarness);
