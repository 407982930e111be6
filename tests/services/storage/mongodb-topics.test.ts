/**
 * The engine for several nodes: the contract of topics, messages, inboxes, receipts, scheduled messages, revocations,
 * audit.
 */
import { openMongoStore } from '../../../services/storage/mongodb/store';
import { describeAuditContract } from '../../contracts/audit.contract';
import { describeLaterContract } from '../../contracts/later.contract';
import { describeLongContract } from '../../contracts/long.contract';
import { describeMessageContract } from '../../contracts/messages.contract';
import { describeReceiptContract } from '../../contracts/receipts.contract';
import { describeRevocationContract } from '../../contracts/revocations.contract';
import { SettableClock, type StoreHarness } from '../../contracts/support';
import { describeTopicContract } from '../../contracts/topics.contract';
import { describeInboxContract } from '../../inbox/inbox.contract';
import { MONGODB_URL, newDatabase } from '../../support/cluster';
import { describeWith } from '../../support/needs';

/** A database of its own for each test. */
function makeHarness(): StoreHarness {
  const database = newDatabase();
  const clock = new SettableClock();
  return { clock, open: () => openMongoStore(database, clock) };
}

describeWith('a MongoDB (TEST_MONGODB_URL)', MONGODB_URL !== undefined)('with a server,', () => {
  describeTopicContract('mongodb', makeHarness);
  describeLongContract('mongodb', makeHarness, { many: 1_200, atOnce: 4 });
  describeMessageContract('mongodb', makeHarness);
  describeInboxContract('mongodb', makeHarness);
  describeReceiptContract('mongodb', makeHarness);
  describeLaterContract('mongodb', makeHarness);
  describeRevocationContract('mongodb', makeHarness);
  describeAuditContract('mongodb', makeHarness);
});
