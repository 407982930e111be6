/** Which part receives which frame of another node: a new kind of frame does not compile before it is listed here. */
import type { ClusterFrame, FrameOf } from '../../utils/cluster-protocol';
import type { FrameListener } from './contract';

const RECEIVERS = {
  entries: 'delivery',
  live: 'delivery',
  expired: 'delivery',
  recount: 'delivery',
  typing: 'typing',
  follow: 'userSessions',
  unfollow: 'userSessions',
  'unfollow-all': 'userSessions',
  disconnect: 'userSessions',
  renew: 'userSessions',
  revoked: 'revocations',
  'revoked-closed': 'revocations',
  beat: 'roster',
  online: 'roster',
  'roster-wanted': 'roster',
  roster: 'roster',
  bye: 'roster',
} as const satisfies Record<ClusterFrame['kind'], string>;

type Kind = keyof typeof RECEIVERS;
type Receiver = (typeof RECEIVERS)[Kind];
type KindFor<Part extends Receiver> = { [Each in Kind]: (typeof RECEIVERS)[Each] extends Part ? Each : never }[Kind];

/** The frames that a part receives. */
export type FrameFor<Part extends Receiver> = FrameOf<KindFor<Part>>;

export type FrameReceivers = {
  readonly [Part in Receiver]: { receive(frame: FrameFor<Part>, node: string): void | Promise<void> };
};

/** Hands each frame to the part that it is for. */
export function deliverFrames(receivers: FrameReceivers): FrameListener {
  return (frame, node) => {
    const receiver = receivers[RECEIVERS[frame.kind]] as { receive: (frame: ClusterFrame, node: string) => unknown };
    receiver.receive(frame, node);
  };
}
