/** Both transports behind one interface, for tests that apply to either. */
import type { Message, Reply } from '../../utils/protocol';
import type { Received } from './client';
import { connectPlain, type Frame } from './plain-client';
import type { TestService } from './service';

/** What the test clients of both transports can do. */
export interface AnyClient {
  /** The payload of the next event of this name, past or to come. */
  next<Payload = Record<string, unknown>>(event: string): Promise<Payload>;
  /** A custom event: payload, then meta. */
  nextArgs(event: string): Promise<readonly unknown[]>;
  messages(count: number): Promise<Message[]>;
  readonly allMessages: readonly Message[];
  /** Every frame so far, as the transport reports it; `framesOf` makes them alike. */
  readonly received: readonly (Received | Frame)[];
  call(name: string, fields?: object): Promise<Reply>;
  /** Resolves when everything that the server sent before this call has arrived. */
  settle(): Promise<void>;
  close(): void;
}

/** Opens a client and waits for `connected`. */
export type Connect = (
  service: TestService,
  userId: string,
  user?: { device?: string; scope?: string },
) => Promise<AnyClient>;

export const TRANSPORTS: [name: string, connect: Connect][] = [
  ['Socket.IO', (service, userId, user) => service.connect(userId, user)],
  ['plain WebSocket', (service, userId, user) => connectPlain(service.url, userId, user)],
];

/** A frame of the server, over either transport. */
export interface Told {
  readonly event: string;
  /** The fields of the frame; for a custom event over Socket.IO, only the sender's data. */
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Every frame so far, without replies and without events that must be requested. */
export function framesOf({ received }: Pick<AnyClient, 'received'>): Told[] {
  return received.map(toTold).filter(({ event }) => event !== 'reply' && event !== 'pong');
}

function toTold(frame: Received | Frame): Told {
  const { event, ...payload } = frame as Frame;
  const { args } = payload;
  return { event, payload: (Array.isArray(args) ? args[0] : payload) as Told['payload'] };
}
