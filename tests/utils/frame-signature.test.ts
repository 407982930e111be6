/** Signatures of frames between nodes. */
import { createSecretKey } from 'node:crypto';
import { decodeFrame, encodeFrame } from '../../utils/cluster-protocol';
import { createFrameSignature } from '../../utils/frame-signature';

const secret = createSecretKey(Buffer.alloc(32, 1));
const signature = createFrameSignature(secret, 'tidings:a:');
const frame = { kind: 'renew', userId: 'anna","mac":"x"}' } as const;
const text = encodeFrame('node', frame);

it('a signed frame is opened as it was, and is still read without the secret', () => {
  const signed = signature.sign(text);
  expect(signature.open(signed)).toBe(text);
  expect(decodeFrame(signed)).toEqual({ node: 'node', frame });
});

it.each([
  ['unsigned', text],
  ['signed with another secret', createFrameSignature(createSecretKey(Buffer.alloc(32, 2)), 'tidings:a:').sign(text)],
  ['signed for another service', createFrameSignature(secret, 'tidings:b:').sign(text)],
  ['changed', signature.sign(text).replace('anna', 'anne')],
  ['longer', `${signature.sign(text)} `],
  ['cut', signature.sign(text).slice(0, -1)],
  ['signed with something that is no signature', `${text.slice(0, -1)},"mac":"${'ü'.repeat(43)}"}`],
  ['empty', ''],
  ['no more than a signature', signature.sign('{}').slice(1)],
])('%s: it is refused', (_name, given) => {
  expect(signature.open(given)).toBeUndefined();
});
