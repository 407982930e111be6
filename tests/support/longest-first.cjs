/**
 * Starts the suites that take longest first, so that none of them is left to run alone at the end. Without times of an
 * earlier run jest goes by the size of files, and what starts many processes fits into small ones.
 */
const { default: Sequencer } = require('@jest/test-sequencer');

/** Beginnings of paths in tests/: a minute and more each, where everything is switched on. */
const LONG = [
  'chaos/two-nodes',
  'chaos/one-node',
  'services/storage/mongodb',
  'inbox-property',
  'chaos/clients',
  'fuzz/',
  'e2e/',
  'scripts/soak',
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
