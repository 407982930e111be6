/** Loaded into a node before it starts (NODE_OPTIONS): every operation of two users throws what nobody expects. */
const { join } = require('node:path');

const HANDLERS = join(__dirname, '../../../dist/handlers');
const MAKERS = {
  inbox: 'createInboxOperations',
  messages: 'createMessageOperations',
  topics: 'createTopicOperations',
};

function unexpected() {
  return new TypeError('this text is for the log only');
}

/** `unlucky` throws at once, `hapless` rejects. */
function throwing(operation) {
  return (caller, ...rest) => {
    if (caller?.userId === 'unlucky') throw unexpected();
    if (caller?.userId === 'hapless') return Promise.reject(unexpected());
    return operation(caller, ...rest);
  };
}

for (const [file, maker] of Object.entries(MAKERS)) {
  const exported = require(join(HANDLERS, file));
  const make = exported[maker];
  exported[maker] = (...parts) => {
    const operations = Object.entries(make(...parts));
    return Object.fromEntries(operations.map(([name, operation]) => [name, throwing(operation)]));
  };
}
