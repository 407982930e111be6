/** Revoked tokens. */

import { REVOCATION_MARGIN_MS, type Revocation, type RevocationQuery } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import { deleteSome, upsert } from './commands';
import { type Database, keyOf, type RevocationDoc } from './layout';

export class Revocations {
  constructor(private readonly db: Database) {}

  async keep(revocation: Revocation): Promise<void> {
    const { userId, jti, ...times } = revocation;
    assertFitsKey(userId, jti ?? '');
    const update = {
      $setOnInsert: { userId, jti } as Partial<RevocationDoc>,
      $set: { keptAt: this.db.clock.now() },
      ...(Object.keys(times).length === 0 ? {} : { $max: times }),
    };
    await upsert(this.db.collections.revocations, idOf(revocation), update);
  }

  async list({ limit, after }: RevocationQuery): Promise<Revocation[]> {
    const later = after === undefined ? {} : { _id: { $gt: idOf(after) } };
    const found = await this.db.collections.revocations.find(later).sort({ _id: 1 }).limit(limit).toArray();
    return found.map(toRevocation);
  }

  async forget(limit: number): Promise<number> {
    const over = { expiresAt: { $lte: (this.db.clock.now() - REVOCATION_MARGIN_MS) / 1000 } };
    return deleteSome(this.db.collections.revocations, over, { limit });
  }
}

function idOf({ userId, jti }: Revocation): string {
  return jti === undefined ? userId : keyOf(userId, jti);
}

export function toRevocation({ userId, jti, issuedBefore = 0, expiresAt }: RevocationDoc): Revocation {
  if (jti === undefined) return { userId, issuedBefore };
  return { userId, jti, ...(expiresAt === undefined ? {} : { expiresAt }) };
}
