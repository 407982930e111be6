/**
 * Loaded before the service, makes of it the next version, whose frames the present one does not understand in full.
 * CHAOS_NEXT=version: frames have the next version, and those of this one are not understood.
 * CHAOS_NEXT=kinds: frames have more fields, and one kind has become another one.
 */
const { join } = require('node:path');

const protocol = require(join(process.cwd(), 'dist/utils/cluster-protocol.js'));
const { encodeFrame, decodeFrame } = protocol;
const NEXT = { ...JSON.parse(encodeFrame('', { kind: 'bye' })) }.v + 1;

const VERSIONS = {
  version: {
    encode: (node, frame) => JSON.stringify({ v: NEXT, node, frame }),
    decode: (text) => {
      const { v, node, frame } = JSON.parse(text);
      return v === NEXT ? decodeFrame(encodeFrame(node, frame)) : { foreign: `version ${v}` };
    },
  },
  kinds: {
    encode: (node, frame) => {
      const envelope = JSON.parse(encodeFrame(node, frame));
      const kind = frame.kind === 'online' ? 'online-next' : frame.kind;
      return JSON.stringify({ ...envelope, sentAt: Date.now(), frame: { ...frame, kind, more: { fields: true } } });
    },
    decode: decodeFrame,
  },
};

const { encode, decode } = VERSIONS[process.env.CHAOS_NEXT];
protocol.encodeFrame = encode;
protocol.decodeFrame = decode;
