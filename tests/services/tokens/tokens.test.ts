import { createSecretKey, generateKeyPairSync } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { fixedKey } from '../../../services/tokens/token-keys';
import { createTokens, signToken, type TokenRules } from '../../../services/tokens/tokens';
import { SCOPES } from '../../../utils/caller';
import { type ClaimRules, STANDARD_CLAIMS } from '../../../utils/claims';
import { systemClock } from '../../../utils/clock';
import type { AppError } from '../../../utils/errors';
import { clockAt } from '../../support/clock';

const key = createSecretKey(Buffer.from('s'.repeat(32)));
const NOW_SECONDS = 1_800_000_000;
const rules: TokenRules = { keys: fixedKey({ key, algorithm: 'HS256' }), isExpRequired: false };

function tokensAt(seconds: number, changes: Partial<TokenRules> = {}) {
  return createTokens(
    { ...rules, ...changes },
    clockAt(() => seconds * 1000),
  );
}

// `noTimestamp` would also drop an `iat` that was asked for.
const sign = (claims: object) => jwt.sign(claims, key, { algorithm: 'HS256', noTimestamp: !('iat' in claims) });

function refusalOf(work: () => unknown): AppError {
  try {
    work();
  } catch (error) {
    return error as AppError;
  }
  throw new Error('it was accepted');
}

describe('verify', () => {
  it('returns user, scopes and times', () => {
    const token = sign({
      sub: 'anna',
      scope: 'send  presence',
      scopes: ['broadcast'],
      exp: NOW_SECONDS + 10,
      iat: NOW_SECONDS,
    });
    const caller = tokensAt(NOW_SECONDS).verify(token);
    expect(caller).toMatchObject({ userId: 'anna', expiresAt: NOW_SECONDS + 10, issuedAt: NOW_SECONDS });
    expect([...caller.scopes].sort()).toEqual(['broadcast', 'presence', 'send']);
  });

  it('checks a token once while it is cached, and still judges its time', () => {
    let nowSeconds = NOW_SECONDS;
    const tokens = createTokens(
      rules,
      clockAt(() => nowSeconds * 1000),
    );
    const token = sign({ sub: 'anna', exp: NOW_SECONDS + 10 });
    expect(tokens.verify(token)).toBe(tokens.verify(token));
    nowSeconds = NOW_SECONDS + 10;
    expect(refusalOf(() => tokens.verify(token)).code).toBe('token_expired');
  });

  it('gives `exp` no tolerance, `nbf` and `iat` 60 seconds', () => {
    const tokens = tokensAt(NOW_SECONDS);
    expect(refusalOf(() => tokens.verify(sign({ sub: 'a', exp: NOW_SECONDS }))).code).toBe('token_expired');
    expect(tokens.verify(sign({ sub: 'a', nbf: NOW_SECONDS + 60, iat: NOW_SECONDS + 60 })).userId).toBe('a');
    expect(refusalOf(() => tokens.verify(sign({ sub: 'a', nbf: NOW_SECONDS + 61 }))).message).toContain('nbf');
    expect(refusalOf(() => tokens.verify(sign({ sub: 'a', iat: NOW_SECONDS + 61 }))).message).toContain('iat');
  });

  it('requires issuer and audience where they are configured', () => {
    const tokens = tokensAt(NOW_SECONDS, { issuer: 'https://id.example', audience: 'tidings' });
    expect(tokens.verify(sign({ sub: 'a', iss: 'https://id.example', aud: ['x', 'tidings'] })).userId).toBe('a');
    expect(
      refusalOf(() => tokens.verify(sign({ sub: 'a', iss: 'https://other.example', aud: 'tidings' }))).status,
    ).toBe(401);
    expect(refusalOf(() => tokens.verify(sign({ sub: 'a', iss: 'https://id.example' }))).status).toBe(401);
  });

  it('requires `exp` where it is configured', () => {
    expect(
      refusalOf(() => tokensAt(NOW_SECONDS, { isExpRequired: true }).verify(sign({ sub: 'a' }))).message,
    ).toContain('exp');
  });

  it('refuses another key, and a token that was changed', () => {
    const other = jwt.sign({ sub: 'a' }, createSecretKey(Buffer.from('t'.repeat(32))));
    expect(refusalOf(() => tokensAt(NOW_SECONDS).verify(other)).code).toBe('unauthorized');
    const [header, , signature] = sign({ sub: 'a' }).split('.');
    const payload = Buffer.from('{"sub":"admin"}').toString('base64url');
    expect(refusalOf(() => tokensAt(NOW_SECONDS).verify(`${header}.${payload}.${signature}`)).code).toBe(
      'unauthorized',
    );
  });

  it.each([
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
  ] as const)('accepts %s, and not the public key as HS256 secret', (algorithm, { publicKey, privateKey }) => {
    const tokens = tokensAt(NOW_SECONDS, { keys: fixedKey({ key: publicKey, algorithm }) });
    expect(tokens.verify(jwt.sign({ sub: 'a' }, privateKey, { algorithm, noTimestamp: true })).userId).toBe('a');
    const pem = publicKey.export({ type: 'spki', format: 'pem' });
    const forged = jwt.sign({ sub: 'a' }, createSecretKey(Buffer.from(pem)), { algorithm: 'HS256', noTimestamp: true });
    expect(refusalOf(() => tokens.verify(forged)).code).toBe('unauthorized');
  });

  it('never quotes the token', () => {
    const token = sign({ sub: 'a', exp: 1 });
    expect(refusalOf(() => tokensAt(NOW_SECONDS).verify(token)).message).not.toContain(token.slice(0, 20));
    expect(refusalOf(() => tokensAt(NOW_SECONDS).verify('garbage-token')).message).not.toContain('garbage');
  });
});

it('signToken makes tokens that verify accepts', () => {
  const token = signToken(key, { userId: 'anna', scope: 'send', lifetimeSeconds: 60, issuer: 'i', audience: 'a' });
  const caller = createTokens(
    { ...rules, issuer: 'i', audience: 'a' },
    clockAt(() => Date.now()),
  ).verify(token);
  expect(caller.scopes.has('send')).toBe(true);
});

describe('tokens of other issuers', () => {
  const claimsOf = (changes: Partial<ClaimRules>) => ({ claims: { ...STANDARD_CLAIMS, ...changes } });
  const verify = (claims: object, changes: Partial<ClaimRules>) =>
    tokensAt(NOW_SECONDS, claimsOf(changes)).verify(sign(claims));

  it.each<[name: string, claim: string, claims: object]>([
    ['a claim', 'user_name', { user_name: 'anna' }],
    ['a path', 'user.id', { user: { id: 'anna' } }],
    ['a claim whose name is a URL', 'https://x.example/user', { 'https://x.example/user': 'anna' }],
    ['a name with dots before the path', 'user.id', { 'user.id': 'anna', user: { id: 'mallory' } }],
  ])('name the user in %s', (_name, userClaim, claims) => {
    expect(verify({ sub: 'subject', ...claims }, { userClaim }).userId).toBe('anna');
  });

  it.each<[name: string, claim: string, claims: object]>([
    ['is missing', 'user.id', { sub: 'anna' }],
    ['is no text', 'user.id', { sub: 'anna', user: { id: 42 } }],
    ['is empty', 'user.id', { sub: 'anna', user: { id: '' } }],
    ['is no name for a user', 'user.id', { sub: 'anna', user: { id: '..' } }],
    ['is inherited', 'constructor.name', { sub: 'anna' }],
    ['leads through a text', 'user.length', { sub: 'anna', user: 'anna' }],
  ])('are refused when the claim %s', (_name, userClaim, claims) => {
    const refusal = refusalOf(() => verify(claims, { userClaim }));
    expect(refusal.code).toBe('unauthorized');
    expect(refusal.message).toContain(userClaim);
  });

  it.each<[name: string, scopeClaim: string, claims: object]>([
    ['roles of Keycloak', 'realm_access.roles', { realm_access: { roles: ['send', 'presence'] } }],
    ['permissions of Auth0', 'permissions', { permissions: ['send', 'presence'] }],
    ['text', 'scp', { scp: 'send presence' }],
  ])('have their scopes in %s', (_name, scopeClaim, claims) => {
    const { scopes } = verify({ sub: 'anna', scope: 'admin', ...claims }, { scopeClaim });
    expect([...scopes]).toEqual(['send', 'presence']);
  });

  it('have no scope where the claim is missing, and are refused where it has another form', () => {
    expect(verify({ sub: 'a', scope: 'admin' }, { scopeClaim: 'permissions' }).scopes.size).toBe(0);
    const refusal = refusalOf(() => verify({ sub: 'a', permissions: { admin: true } }, { scopeClaim: 'permissions' }));
    expect(refusal.message).toContain('permissions');
  });

  it('with a prefix only scopes that begin with it count', () => {
    const { scopes } = verify(
      { sub: 'a', scope: 'admin tidings:send tidings: other:presence' },
      { scopePrefix: 'tidings:' },
    );
    expect([...scopes]).toEqual(['send']);
  });

  it('are made as they are read', () => {
    const rules = claimsOf({ userClaim: 'user.id', scopeClaim: 'realm_access.roles', scopePrefix: 'tidings:' });
    const token = signToken(key, { userId: 'anna', scope: 'send admin', ...rules });
    const caller = createTokens(
      { keys: fixedKey({ key, algorithm: 'HS256' }), isExpRequired: false, ...rules },
      systemClock,
    );
    expect(caller.verify(token)).toMatchObject({ userId: 'anna', scopes: new Set(['send', 'admin']) });
  });

  it('hold every scope where authorization is open', () => {
    expect([...verify({ sub: 'a' }, { isOpen: true }).scopes]).toEqual([...SCOPES]);
  });
});
