/**
 * What nodes publish to each other, and its encoding. Frames are hints: any of them may be lost, and none is requested
 * again. A node ignores frames of another version and unknown kinds, so nodes of neighbouring versions can run
 * together; it finds what it missed in the store.
 */
import { z } from 'zod';
import { CLOSING_CODES, type LiveMessage, type Message } from './protocol';

/** Increases when older nodes would misunderstand a frame. New kinds and fields need no new version. */
const FRAME_VERSION = 1;

const message = z.custom<Message>((value) => typeof value === 'object' && value !== null);
const liveMessage = z.custom<LiveMessage>((value) => typeof value === 'object' && value !== null);
/** Connections by device. */
const devices = z.array(z.tuple([z.string(), z.int().min(1)]));
const version = z.int().min(0);

const revocation = z.union([
  z.object({ userId: z.string(), issuedBefore: z.number() }),
  z.object({ userId: z.string(), jti: z.string(), expiresAt: z.number().exactOptional() }),
]);

const bodySchema = z.discriminatedUnion('kind', [
  /** Entries appended to logs, in the order of each log. */
  z.object({ kind: z.literal('entries'), entries: z.array(message).readonly() }),
  /** A message with `persist: false`. */
  z.object({ kind: z.literal('live'), message: liveMessage }),
  z.object({
    kind: z.literal('expired'),
    expired: z
      .array(
        z.object({
          topic: z.string(),
          // Nodes of an older version leave it out.
          seq: z.int().min(1).exactOptional(),
          id: z.string(),
          exceptUserId: z.string().exactOptional(),
        }),
      )
      .readonly(),
  }),
  /** Something has happened that no log tells of, to the inbox of a user or to any. */
  z.object({ kind: z.literal('recount'), userId: z.string().exactOptional() }),
  z.object({
    kind: z.literal('typing'),
    room: z.string(),
    topic: z.string(),
    userId: z.string(),
    typing: z.boolean(),
  }),
  /** Close the connections of a user, all of them or those of one device. */
  z.object({
    kind: z.literal('disconnect'),
    userId: z.string(),
    code: z.enum(CLOSING_CODES),
    reason: z.string(),
    device: z.string().optional(),
  }),
  /** The data of a user is being erased: connections come back to what is there then. */
  z.object({ kind: z.literal('renew'), userId: z.string() }),
  /**
   * From now on, tokens of a user are refused; see the contract of the store. A node that receives it with a `question`
   * answers.
   */
  z.object({ kind: z.literal('revoked'), revocation, question: z.string().exactOptional() }),
  /** How many connections were closed because of it. */
  z.object({ kind: z.literal('revoked-closed'), question: z.string(), closed: z.int().min(0) }),
  z.object({
    kind: z.literal('follow'),
    userId: z.string(),
    topic: z.string(),
    start: version,
    /** Another user has added this user. */
    invitation: z.object({ isPrivate: z.boolean(), by: z.string() }).exactOptional(),
  }),
  z.object({ kind: z.literal('unfollow'), userId: z.string(), topic: z.string() }),
  /** The topic was deleted. */
  z.object({ kind: z.literal('unfollow-all'), topic: z.string() }),
  /** The node is alive, and has published this many changes of its users. */
  z.object({ kind: z.literal('beat'), version }),
  /**
   * The connections that a user has on the node now; `version` counts these frames. `at`: milliseconds since the epoch.
   */
  z.object({ kind: z.literal('online'), version, userId: z.string(), devices, at: z.number() }),
  /** A node has missed a change of the users of node `of`. */
  z.object({ kind: z.literal('roster-wanted'), of: z.string() }),
  /** All users of the node after `version` changes, in consecutive parts. */
  z.object({
    kind: z.literal('roster'),
    version,
    part: version,
    parts: z.int().min(1),
    users: z.array(z.tuple([z.string(), devices])),
  }),
  /** The node is stopping. */
  z.object({ kind: z.literal('bye') }),
]);

export type ClusterFrame = z.output<typeof bodySchema>;
export type FrameOf<Kind extends ClusterFrame['kind']> = Extract<ClusterFrame, { kind: Kind }>;

const envelopeSchema = z.object({ v: z.literal(FRAME_VERSION), node: z.string(), frame: bodySchema });

export function encodeFrame(node: string, frame: ClusterFrame): string {
  return JSON.stringify({ v: FRAME_VERSION, node, frame });
}

export type Decoded =
  | { readonly node: string; readonly frame: ClusterFrame }
  /** What this version does not understand, in words that are the same for all such frames. */
  | { readonly foreign: string };

export function decodeFrame(text: string): Decoded {
  const received = parseJson(text);
  const parsed = envelopeSchema.safeParse(received);
  if (parsed.success) return { node: parsed.data.node, frame: parsed.data.frame };
  return { foreign: describeForeign(received) };
}

/** Of a frame that is not understood, only these fields are trusted. */
const foreignSchema = z.object({ v: z.int(), frame: z.object({ kind: z.string().max(32) }) });

function describeForeign(received: unknown): string {
  const { success, data } = foreignSchema.safeParse(received);
  if (!success) return 'no frame';
  return data.v === FRAME_VERSION ? `kind ${data.frame.kind}` : `version ${data.v}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Published by something else on this channel: not a frame, so treated like any other that is not understood.
    return undefined;
  }
}
