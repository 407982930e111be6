/** Revoked tokens. */
import { REVOCATION_MARGIN_MS, type Revocation, type RevocationQuery } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import type { Access } from './access';
import type { DueKey } from './layout';

/** Stands for all tokens of a user, instead of a token id. */
const ALL = '';

type Key = [userId: string, jti: string];

export class Revocations {
  constructor(private readonly access: Access) {}

  keep(revocation: Revocation): void {
    const key = keyOf(revocation);
    assertFitsKey('revocation', ...key);
    const { revocations, due } = this.access.trees;
    const known = revocations.get(key);
    const time = timeOf(revocation);
    if (known !== undefined && known >= time) return;
    revocations.put(key, time);
    if (revocation.jti === undefined) return;
    if (known !== undefined && known > 0) due.remove(dueOf(key, known));
    if (time > 0) due.put(dueOf(key, time), true);
  }

  list({ limit, after }: RevocationQuery): Revocation[] {
    const range = after === undefined ? {} : { start: keyOf(after), exclusiveStart: true };
    return Array.from(this.access.trees.revocations.getRange({ ...range, limit }), ({ key, value }) =>
      fromRow(key, value),
    );
  }

  forget(limit: number): Promise<number> {
    return this.access.eachDue('revocation', { limit }, (key) => {
      const [, , userId, jti] = key;
      this.access.trees.due.remove(key);
      this.access.trees.revocations.remove([userId, String(jti)]);
    });
  }
}

function keyOf({ userId, jti = ALL }: Revocation): Key {
  return [userId, jti];
}

function timeOf(revocation: Revocation): number {
  return revocation.jti === undefined ? revocation.issuedBefore : (revocation.expiresAt ?? 0);
}

function fromRow([userId, jti]: Key, time: number): Revocation {
  if (jti === ALL) return { userId, issuedBefore: time };
  return { userId, jti, ...(time === 0 ? {} : { expiresAt: time }) };
}

function dueOf([userId, jti]: Key, expiresAt: number): DueKey {
  return ['revocation', Math.ceil(expiresAt * 1000) + REVOCATION_MARGIN_MS, userId, jti];
}
