/** Tokens that are refused before their time. */
import type { Clock } from '../../../utils/clock';
import { REVOCATION_MARGIN_MS, type Revocation, type RevocationQuery } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import type { Access } from './access';
import { type DueKey, numberedFrom, type Trees } from './layout';

/** The row of a user's tokens, in place of the id of one. */
const ALL = '';

type Key = [userId: string, jti: string];

export class Revocations {
  constructor(
    private readonly trees: Trees,
    private readonly parts: { readonly access: Access; readonly clock: Clock },
  ) {}

  keep(revocation: Revocation): void {
    const key = keyOf(revocation);
    assertFitsKey('revocation', ...key);
    const known = this.trees.revocations.get(key);
    const time = timeOf(revocation);
    if (known !== undefined && known >= time) return;
    this.trees.revocations.put(key, time);
    if (revocation.jti === undefined) return;
    if (known !== undefined && known > 0) this.trees.due.remove(dueOf(key, known));
    if (time > 0) this.trees.due.put(dueOf(key, time), true);
  }

  list({ limit, after }: RevocationQuery): Revocation[] {
    const range = after === undefined ? {} : { start: keyOf(after), exclusiveStart: true };
    return Array.from(this.trees.revocations.getRange({ ...range, limit }), ({ key, value }) => fromRow(key, value));
  }

  async forget(limit: number): Promise<number> {
    const { access } = this.parts;
    return (await access.isDue('revocation')) ? access.write(() => this.#forget(limit)) : 0;
  }

  #forget(limit: number): number {
    const range = { ...numberedFrom<DueKey>('revocation', 0, this.parts.clock.now()), limit };
    const due = Array.from(this.trees.due.getKeys(range));
    for (const key of due) {
      const [, , userId, jti] = key;
      this.trees.due.remove(key);
      this.trees.revocations.remove([userId, String(jti)]);
    }
    return due.length;
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
