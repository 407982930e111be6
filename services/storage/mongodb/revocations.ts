/** Revoked tokens. */
import type { Clock } from '../../../utils/clock';
import { REVOCATION_MARGIN_MS, type Revocation, type RevocationQuery } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import { deleteSome, upsert } from './commands';
import { type Collections, keyOf, type RevocationDoc } from './layout';

export class Revocations {
  constructor(
    private readonly collections: Collections,
    private readonly clock: Clock,
  ) {}

  async keep(revocation: Revocation): Promise<void> {
    const { userId, jti, ...times } = revocation;
    assertFitsKey(userId, jti ?? '');
    const update = {
      $setOnInsert: { userId, jti } as Partial<RevocationDoc>,
      $set: { keptAt: this.clock.now() },
      ...(Object.keys(times).length === 0 ? {} : { $max: times }),
    };
    await upsert(this.collections.revocations, idOf(revocation), update);
  }

  async list({ limit, after }: RevocationQuery): Promise<Revocation[]> {
    const later = after === undefined ? {} : { _id: { $gt: idOf(after) } };
    const found = await this.collections.revocations.find(later).sort({ _id: 1 }).limit(limit).toArray();
    return found.map(toRevocation);
  }

  async forget(limit: number): Promise<number> {
    const over = { expiresAt: { $lte: (this.clock.now() - REVOCATION_MARGIN_MS) / 1000 } };
    return deleteSome(this.collections.revocations, over, { limit });
  }
}

function idOf({ userId, jti }: Revocation): string {
  return jti === undefined ? userId : keyOf(userId, jti);
}

export function toRevocation({ userId, jti, issuedBefore = 0, expiresAt }: RevocationDoc): Revocation {
  if (jti === undefined) return { userId, issuedBefore };
  return { userId, jti, ...(expiresAt === undefined ? {} : { expiresAt }) };
}
