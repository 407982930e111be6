/** The embedded engine: the contract of topics, messages, inboxes, receipts, scheduled messages, revocations, audit. */
import { openLmdbStore } from '../../../services/storage/lmdb/store';
import { describeAuditContract } from '../../contracts/audit.contract';
import { describeLaterContract } from '../../contracts/later.contract';
import { describeLongContract } from '../../contracts/long.contract';
import { describeMessageContract } from '../../contracts/messages.contract';
import { describeReceiptContract } from '../../contracts/receipts.contract';
import { describeRevocationContract } from '../../contracts/revocations.contract';
import { SettableClock, type StoreHarness } from '../../contracts/support';
import { describeTopicContract } from '../../contracts/topics.contract';
import { describeInboxContract } from '../../inbox/inbox.contract';
import { temporaryDirectory } from '../../support/temporary';

function makeHarness(): StoreHarness {
  const directory = temporaryDirectory();
  const clock = new SettableClock();
  return { clock, open: () => openLmdbStore(directory, clock) };
}

describeTopicContract('lmdb', makeHarness);
describeMessageContract('lmdb', makeHarness);
describeInboxContract('lmdb', makeHarness);
describeReceiptContract('lmdb', makeHarness);
describeLaterContract('lmdb', makeHarness);
describeRevocationContract('lmdb', makeHarness);
describeAuditContract('lmdb', makeHarness);
describeLongContract('lmdb', makeHarness);
