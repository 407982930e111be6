/** Requests under an Idempotency-Key: carried out once, with the same answer for 24 hours. */
import { createHash } from 'node:crypto';
import type { Logger } from '../services/observability/logger';
import type { Claim, IdempotencyKey, KeyStore } from '../services/storage/contract';
import type { Caller } from '../utils/caller';
import { AppError, refuseField } from '../utils/errors';
import { idempotencyKeySchema, parseField } from '../utils/schemas';
import type { Sender, Sent } from './send';

/** The name of the header, for error sentences. */
const HEADER = 'Idempotency-Key';

/** A request that sends. */
export interface SendRequest {
  readonly caller: Caller;
  /** The value of the header; if absent, the request is carried out each time. */
  readonly key: string | undefined;
  /** Method and path. */
  readonly target: string;
  readonly body: {
    /** As received. */
    readonly bytes: Uint8Array;
    readonly value: unknown;
  };
}

export interface WrittenAnswer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
  readonly isRepeated: boolean;
}

export type RunOnce = ReturnType<typeof createRunOnce>;

export function createRunOnce(keys: KeyStore, logger: Pick<Logger, 'warn'>) {
  /**
   * Carries out a request, once under its key. A request that fails releases the key. What it had stored before it
   * failed is found again under the ids derived from the key; so is everything whose answer could not be kept.
   * @throws AppError `bad_request` for a bad key, `request_in_progress`, `idempotency_conflict` for another request
   * under this key, and whatever `work` throws.
   */
  return async function runOnce(request: SendRequest, work: (sender: Sender) => Promise<Sent>): Promise<WrittenAnswer> {
    const { caller } = request;
    if (request.key === undefined) return written(await work(caller));
    const key = parseField(HEADER, idempotencyKeySchema, request.key);
    const name = { caller: caller.userId, key };
    const { claim, fingerprint } = await claimKey(name, request);
    if (claim.outcome === 'conflict') throw conflict();
    if (claim.outcome === 'running') throw inProgress();
    if (claim.outcome === 'answered') return { ...claim.answer, isRepeated: true };
    try {
      const answer = written(await work({ ...caller, underKey: `${claim.claimedAt} ${key}` }));
      await attempt(keys.keepAnswer(name, fingerprint, { status: answer.status, body: answer.body }));
      return answer;
    } finally {
      await attempt(keys.release(name));
    }
  };

  /** Claims a key for a request, which an earlier version may have stored under another fingerprint. */
  async function claimKey(
    name: IdempotencyKey,
    request: SendRequest,
  ): Promise<{ readonly claim: Claim; readonly fingerprint: string }> {
    const fingerprint = fingerprintOf(request);
    const claim = await keys.claim(name, fingerprint);
    const earlier = claim.outcome === 'conflict' ? earlierFingerprintOf(request) : undefined;
    if (earlier === undefined) return { claim, fingerprint };
    return { claim: await keys.claim(name, earlier), fingerprint: earlier };
  }

  /** What was done is answered as done, whatever happens to its key. */
  async function attempt(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      logger.warn({ err: error }, `the answer under an ${HEADER} could not be kept`);
    }
  }
}

/** A scheduled message is accepted, everything else is done. */
function written({ answer, isRepeated, isScheduled = false }: Sent): WrittenAnswer {
  return { status: isScheduled ? 202 : 200, body: JSON.stringify(answer), isRepeated };
}

/** Of the bytes: two bodies are the same only if they were written the same. */
function fingerprintOf({ target, body }: SendRequest): string {
  return `bytes ${hashOf(target, body.bytes)}`;
}

function hashOf(target: string, body: string | Uint8Array): string {
  return createHash('sha256').update(target).update('\n').update(body).digest('base64url');
}

/**
 * The fingerprint of earlier versions, of the re-serialized body: keys hold for 24 hours, even across an upgrade.
 * `undefined` if those versions could not have made one.
 */
function earlierFingerprintOf({ target, body }: SendRequest): string | undefined {
  try {
    return hashOf(target, JSON.stringify(body.value));
  } catch (error) {
    // Nested too deeply to be serialized.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function conflict(): AppError {
  return refuseField(
    'idempotency_conflict',
    HEADER,
    'was used for a different request within the last 24 hours: use a new key',
  );
}

function inProgress(): AppError {
  return new AppError('request_in_progress', `The first request with this ${HEADER} is still running.`);
}
