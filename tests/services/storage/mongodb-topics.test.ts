/** The engine for several nodes: what the contract says of topics, messages, inboxes, receipts, what waits, revocations, audit. */
import { randomBytes } from 'node:crypto';
import { MongoClient } from 'mongodb';
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
import { describeWith } from '../../support/needs';
import { onTestEnd } from '../../support/temporary';

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
  describeTopicContract('mongodb', makeHarness);
  describeLongContract('mongodb', makeHarness, { many: 1_200, atOnce: 4 });
  describeMessageContract('mongodb', makeHarness);
  describeInboxContract('mongodb', makeHarness);
  describeReceiptContract('mongodb', makeHarness);
  describeLaterContract('mongodb', makeHarness);
  describeRevocationContract('mongodb', makeHarness);
  describeAuditContract('mongodb', makeHarness);
});
