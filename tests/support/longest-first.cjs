/**
 * Starts the suites that take longest first, so that none of them is left to run alone at the end. Without times of an
 * earlier run jest goes by the size of files, and what starts many processes fits into small ones.
 */
const { default: Sequencer } = require('@jest/test-sequencer');

/**
 * Beginnings of paths in tests/: a minute and more each, where everything is switched on. Those that keep the processor
 * busy and those that mostly wait take turns.
 */
const LONG = [
  'model/one-node',
  'model/two-nodes',
  'chaos/two-nodes',
  'services/storage/mongodb-topics',
  'e2e/page',
  'chaos/one-node',
  'inbox/property',
  'services/storage/mongodb',
  'scripts/soak',
  'chaos/clients',
  'fuzz/',
  'schemathesis',
];

function rankOf({ path }) {
  const rank = LONG.findIndex((beginning) => path.includes(`/tests/${beginning}`));
  return rank === -1 ? LONG.length : rank;
}

module.exports = class LongestFirst extends Sequencer {
  sort(tests) {
    return [...super.sort(tests)].sort((one, other) => rankOf(one) - rankOf(other));
  }
};
