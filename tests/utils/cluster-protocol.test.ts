/** What nodes of different versions make of each other's frames: fault F31. */
import { type ClusterFrame, decodeFrame, encodeFrame } from '../../utils/cluster-protocol';
import type { Message } from '../../utils/protocol';

const message: Message = {
  id: 'id',
  topic: '@anna',
  seq: 1,
  type: 'test',
  data: { $where: 1, 'a.b': [null] },
  timestamp: '2026-01-01T00:00:00.000Z',
  from: 'ben',
};

const FRAMES: ClusterFrame[] = [
  { kind: 'entries', entries: [message] },
  {
    kind: 'expired',
    expired: [
      { topic: '@anna', id: 'id' },
      { topic: '*', id: 'x', exceptUserId: 'ben' },
    ],
  },
  { kind: 'typing', room: '@anna', topic: '@ben', userId: 'ben', typing: true },
  { kind: 'disconnect', userId: 'anna', code: 'disconnected', reason: 'why' },
  { kind: 'renew', userId: 'anna' },
  { kind: 'follow', userId: 'anna', topic: 'news', start: 0 },
  { kind: 'unfollow', userId: 'anna', topic: 'news' },
  { kind: 'beat', version: 0 },
  { kind: 'online', version: 1, userId: '__proto__', devices: [['constructor', 2]], at: 1 },
  { kind: 'roster-wanted', of: 'a:b' },
  { kind: 'roster', version: 1, part: 0, parts: 1, users: [['__proto__', [['phone', 1]]]] },
  { kind: 'bye' },
];

describe('frames between nodes', () => {
  it.each(FRAMES.map((frame): [string, ClusterFrame] => [frame.kind, frame]))(
    '%s is read as written',
    (_kind, frame) => {
      expect(decodeFrame(encodeFrame('node:run', frame))).toEqual({ node: 'node:run', frame });
    },
  );

  it('of a newer node may have more fields', () => {
    const text = JSON.stringify({ v: 1, node: 'n', sentAt: 5, frame: { kind: 'beat', version: 3, load: 0.5 } });
    expect(decodeFrame(text)).toEqual({ node: 'n', frame: { kind: 'beat', version: 3 } });
  });

  it.each([
    ['another version', { v: 2, node: 'n', frame: { kind: 'bye' } }, 'version 2'],
    ['an unknown kind', { v: 1, node: 'n', frame: { kind: 'moved' } }, 'kind moved'],
    ['a field of another type', { v: 1, node: 'n', frame: { kind: 'beat', version: '3' } }, 'kind beat'],
    ['no node', { v: 1, frame: { kind: 'bye' } }, 'kind bye'],
    ['a kind that is a whole text', { v: 1, node: 'n', frame: { kind: 'x'.repeat(33) } }, 'no frame'],
    ['no version', { node: 'n', frame: { kind: 'bye' } }, 'no frame'],
    ['no object', 'text', 'no frame'],
  ])('with %s is foreign', (_name, frame, foreign) => {
    expect(decodeFrame(JSON.stringify(frame))).toEqual({ foreign });
  });

  it('without JSON is foreign', () => {
    for (const text of ['', '{', 'PING', '\u0000']) expect(decodeFrame(text)).toEqual({ foreign: 'no frame' });
  });
});
