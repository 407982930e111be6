/** Signatures of frames between nodes: others who can publish in Redis cannot speak for a node. */
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';

/** 256 bits as base64url. */
const MAC_LENGTH = 43;
const [BEFORE, AFTER] = [',"mac":"', '"}'] as const;
const ENDING_LENGTH = BEFORE.length + MAC_LENGTH + AFTER.length;

export interface FrameSignature {
  /** @param text a JSON object. @returns the same with one field more, which nodes without the secret ignore. */
  sign(text: string): string;
  /** @returns the object without the signature; `undefined` if it has none, or a wrong one. */
  open(text: string): string | undefined;
}

/** @param channel a signature for one service is not valid for another with the same secret. */
export function createFrameSignature(secret: KeyObject, channel: string): FrameSignature {
  const macOf = (text: string) => createHmac('sha256', secret).update(`${channel}\n`).update(text).digest('base64url');
  return {
    sign: (text) => `${text.slice(0, -1)}${BEFORE}${macOf(text)}${AFTER}`,
    open(text) {
      const ending = text.slice(-ENDING_LENGTH);
      if (ending.length < ENDING_LENGTH || !ending.startsWith(BEFORE) || !ending.endsWith(AFTER)) return undefined;
      const signed = `${text.slice(0, -ENDING_LENGTH)}}`;
      const given = Buffer.from(ending.slice(BEFORE.length, -AFTER.length));
      const expected = Buffer.from(macOf(signed));
      return given.length === expected.length && timingSafeEqual(given, expected) ? signed : undefined;
    },
  };
}
