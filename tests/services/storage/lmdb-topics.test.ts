/** The embedded engine: what the contract says of named topics. */
import { openLmdbStore } from '../../../services/storage/lmdb';
import { describeTopicContract } from '../../contracts/topics.contract';
import { temporaryDirectory } from '../../support/temporary';

describeTopicContract('lmdb', () => {
  const directory = temporaryDirectory();
  return { open: () => openLmdbStore(directory) };
});
