/** Public keys that verify tokens, and how they are read from a JSON Web Key Set (RFC 7517). Pure. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';

const MIN_RSA_BITS = 2048;

export type PublicKeyAlgorithm = 'RS256' | 'ES256';

/** A key, and the only algorithm that is accepted with it. */
export interface VerificationKey {
  readonly key: KeyObject;
  readonly algorithm: 'HS256' | PublicKeyAlgorithm;
}

/** A key of a set. */
export interface NamedKey extends VerificationKey {
  readonly kid: string | undefined;
}

/** The algorithm for a public key: it follows from the key alone. `undefined`: none that is accepted. */
export function algorithmOf(key: KeyObject): PublicKeyAlgorithm | undefined {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === 'rsa') return (details?.modulusLength ?? 0) >= MIN_RSA_BITS ? 'RS256' : undefined;
  return key.asymmetricKeyType === 'ec' && details?.namedCurve === 'prime256v1' ? 'ES256' : undefined;
}

const purpose = {
  kid: z.string().min(1).optional(),
  use: z.literal('sig').optional(),
  key_ops: z
    .array(z.string())
    .refine((operations) => operations.includes('verify'))
    .optional(),
};

/** Keys of another type or for another use are skipped, above all symmetric ones. */
const jwkSchema = z.discriminatedUnion('kty', [
  z.object({ kty: z.literal('RSA'), alg: z.literal('RS256').optional(), n: z.string(), e: z.string(), ...purpose }),
  z.object({
    kty: z.literal('EC'),
    alg: z.literal('ES256').optional(),
    crv: z.literal('P-256'),
    x: z.string(),
    y: z.string(),
    ...purpose,
  }),
]);

const keySetSchema = z.object({ keys: z.array(z.unknown()) });

/**
 * The keys of a JSON Web Key Set that can verify tokens.
 * @throws Error when the text is no key set or has no such key; the sentence quotes nothing of it.
 */
export function parseKeySet(text: string): readonly NamedKey[] {
  const parsed = keySetSchema.safeParse(parseJson(text));
  if (!parsed.success) throw new Error('the answer is not a JSON Web Key Set: expected an object with a list `keys`');
  const keys = parsed.data.keys.flatMap((jwk) => readKey(jwk) ?? []);
  if (keys.length === 0)
    throw new Error('the key set has no RSA key of 2048 bits or more and no P-256 key for signatures');
  return keys;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // An answer that is not JSON is no key set, like any other text; the parser's message would quote it.
    return undefined;
  }
}

function readKey(value: unknown): NamedKey | undefined {
  const parsed = jwkSchema.safeParse(value);
  if (!parsed.success) return undefined;
  const { kid, use: _use, key_ops: _operations, alg: _alg, ...jwk } = parsed.data;
  const key = importKey(jwk);
  const algorithm = key === undefined ? undefined : algorithmOf(key);
  return key === undefined || algorithm === undefined ? undefined : { kid, key, algorithm };
}

function importKey(jwk: object): KeyObject | undefined {
  try {
    return createPublicKey({ key: { ...jwk }, format: 'jwk' });
  } catch {
    // Numbers that do not form a key: one bad entry must not take the others with it.
    return undefined;
  }
}
