/** The keys that an issuer publishes: slow, down, rotated, wrong; and what a flood of made-up names costs it. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { KeySet, KeySetOpenError, type KeySetTiming } from '../../../services/tokens/key-set';
import { type CapturedLog, captureLog } from '../../support/captured-log';
import { eventually } from '../../support/eventually';
import { answering, type Behaviour, type Issuer, makeKey, type SigningKey, startIssuer } from '../../support/issuer';
import { range } from '../../support/service';
import { onTestEnd } from '../../support/temporary';

const first = makeKey('first');
const second = makeKey('second', 'RS256');

interface Loaded {
  readonly issuer: Issuer;
  readonly keySet: KeySet;
  readonly log: CapturedLog;
}

async function load(keys: readonly SigningKey[], timing: Partial<KeySetTiming> = {}): Promise<Loaded> {
  const issuer = await startIssuer(...keys);
  const log = captureLog();
  const keySet = await KeySet.load({ url: issuer.url, logger: log.logger, timing });
  onTestEnd(() => keySet.close());
  return { issuer, keySet, log };
}

const headerOf = ({ kid, algorithm }: SigningKey) => ({ kid, alg: algorithm });

function hasKey(keySet: KeySet, key: SigningKey): boolean {
  const found = keySet.find(headerOf(key));
  return found?.key.equals(createPublicKey(key.privateKey)) === true && found.algorithm === key.algorithm;
}

function until(condition: () => boolean): Promise<boolean> {
  return eventually(async () => {
    await nextTurn();
    return condition();
  }, Boolean);
}

const never: Behaviour = () => undefined;
/** Begins an answer, and never ends it. */
const trickle: Behaviour = (response) => {
  response.writeHead(200, { 'Content-Type': 'application/json' }).write('{"keys":');
};

const FAULTS: [name: string, behaviour: Behaviour, words: string][] = [
  ['does not answer', never, '200 ms'],
  ['does not end its answer', trickle, '200 ms'],
  ['answers 500', answering('{"keys":[]}', 500), 'status 500'],
  ['answers 404', answering('not here', 404), 'status 404'],
  ['redirects', (response) => response.writeHead(302, { Location: '/elsewhere' }).end(), 'redirect'],
  ['answers garbage', answering('<html>'), 'not a JSON Web Key Set'],
  ['answers nothing', answering(''), 'not a JSON Web Key Set'],
  ['answers another object', answering('{"issuer":"x"}'), 'not a JSON Web Key Set'],
  ['answers a list', answering('[]'), 'not a JSON Web Key Set'],
  ['has no keys', answering('{"keys":[]}'), 'no RSA key'],
  [
    'has only keys for other things',
    answering(JSON.stringify({ keys: [{ kty: 'oct', k: 'c2VjcmV0' }] })),
    'no RSA key',
  ],
  ['answers without end', answering(`{"keys":["${'x'.repeat(300_000)}"]}`), 'longer than'],
  ['cuts the connection', (response) => response.destroy(), ''],
];

describe('a start', () => {
  it.each(FAULTS)('is refused when the issuer %s', async (_name, behaviour, words) => {
    const issuer = await startIssuer(first);
    issuer.behave(behaviour);
    const { logger } = captureLog();
    const loading = KeySet.load({ url: `${issuer.url}?key=secret`, logger, timing: { timeoutMs: 200 } });
    await expect(loading).rejects.toThrow(KeySetOpenError);
    const { message } = (await loading.catch((error: unknown) => error)) as Error;
    expect(message).toContain('JWT_JWKS_URL');
    expect(message).toContain(words);
    expect(message).not.toContain('secret');
  });

  it('is refused when nobody listens', async () => {
    const issuer = await startIssuer(first);
    await issuer.goAway();
    const { logger } = captureLog();
    await expect(KeySet.load({ url: issuer.url, logger })).rejects.toThrow(/ECONNREFUSED.* Check JWT_JWKS_URL/);
  });
});

describe('a key', () => {
  it('is found by its name and its algorithm', async () => {
    const { keySet } = await load([first, second]);
    expect(hasKey(keySet, first)).toBe(true);
    expect(hasKey(keySet, second)).toBe(true);
    expect(keySet.find({ kid: 'first', alg: 'RS256' })).toBeUndefined();
    expect(keySet.find({ kid: 'third', alg: 'ES256' })).toBeUndefined();
    for (const alg of ['HS256', 'none', 'RS512', '', undefined, null, 7, {}]) {
      expect(keySet.find({ kid: 'first', alg })).toBeUndefined();
    }
    for (const kid of ['', null, 7, {}, ['first']]) expect(keySet.find({ kid, alg: 'ES256' })).toBeUndefined();
  });

  it('is found without a name where there is no choice', async () => {
    const { keySet } = await load([first, second]);
    expect(keySet.find({ kid: undefined, alg: 'ES256' })?.algorithm).toBe('ES256');
    const { keySet: other } = await load([first, makeKey('third'), second]);
    expect(other.find({ kid: undefined, alg: 'ES256' })).toBeUndefined();
    expect(other.find({ kid: undefined, alg: 'RS256' })?.algorithm).toBe('RS256');
  });

  const smallRsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' });
  const otherCurve = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' });
  it.each([
    ['a secret', { kty: 'oct', k: 'c2VjcmV0', kid: 'bad', alg: 'HS256' }],
    ['for encryption', { ...first.jwk, kid: 'bad', use: 'enc' }],
    ['for other operations', { ...first.jwk, kid: 'bad', key_ops: ['encrypt'] }],
    ['for another algorithm', { ...second.jwk, kid: 'bad', alg: 'PS256' }],
    ['an RSA key of 1,024 bits', { ...smallRsa, kid: 'bad' }],
    ['of another curve', { ...otherCurve, kid: 'bad' }],
    ['a point that is not on the curve', { ...first.jwk, kid: 'bad', y: first.jwk['x'] }],
    ['not base64', { ...second.jwk, kid: 'bad', n: '*' }],
    ['without its numbers', { kty: 'RSA', kid: 'bad' }],
    ['a number', 7],
    ['nothing', null],
  ])('that is unusable is left out, and the others stay: %s', async (_name, jwk) => {
    const { keySet } = await load([{ ...first, jwk: jwk as SigningKey['jwk'] }, second]);
    for (const alg of ['RS256', 'ES256', 'HS256']) expect(keySet.find({ kid: 'bad', alg })).toBeUndefined();
    expect(hasKey(keySet, second)).toBe(true);
  });

  it('keeps its private part out, should the issuer publish it', async () => {
    const jwk = { ...first.privateKey.export({ format: 'jwk' }), kid: 'first' };
    const { keySet } = await load([{ ...first, jwk }]);
    expect(keySet.find(headerOf(first))?.key.type).toBe('public');
  });
});

describe('a token of an unknown key', () => {
  it('fetches the set once, and waits for it', async () => {
    const { issuer, keySet } = await load([first]);
    issuer.publish(first, second);
    expect(hasKey(keySet, second)).toBe(false);
    const { version } = keySet;
    await keySet.seek(headerOf(second));
    expect(hasKey(keySet, second)).toBe(true);
    expect(keySet.version).toBeGreaterThan(version);
    expect(issuer.requests).toBe(2);
  });

  it('shares one fetch at a time with all who ask meanwhile', async () => {
    const { issuer, keySet } = await load([first]);
    issuer.publish(second);
    const waiting = range(1, 200).map((n) => keySet.seek({ kid: n === 100 ? 'second' : `made up ${n}`, alg: 'RS256' }));
    expect(waiting).not.toContain(undefined);
    await Promise.all(waiting);
    expect(hasKey(keySet, second)).toBe(true);
    expect(issuer.requests).toBe(2);
  });

  it('in a flood costs one fetch in each cool-down; known keys keep working without waiting', async () => {
    const { issuer, keySet } = await load([first], { cooldownMs: 60_000 });
    await keySet.seek({ kid: 'made up', alg: 'ES256' });
    for (const n of range(1, 10_000)) expect(keySet.seek({ kid: `made up ${n}`, alg: 'ES256' })).toBeUndefined();
    expect(keySet.seek(headerOf(first))).toBeUndefined();
    expect(issuer.requests).toBe(2);
  });

  it('is looked up again after the cool-down', async () => {
    const { issuer, keySet } = await load([first], { cooldownMs: 50 });
    await keySet.seek(headerOf(second));
    issuer.publish(first, second);
    await eventually(async () => {
      await keySet.seek(headerOf(second));
      return hasKey(keySet, second);
    }, Boolean);
  });

  it.each([
    ['no name', { kid: undefined, alg: 'ES256' }],
    ['a name that is no text', { kid: 7, alg: 'ES256' }],
    ['an algorithm of secrets', { kid: 'x', alg: 'HS256' }],
    ['no algorithm', { kid: 'x', alg: undefined }],
  ])('is not looked up with %s', async (_name, header) => {
    const { issuer, keySet } = await load([first]);
    expect(keySet.seek(header)).toBeUndefined();
    expect(issuer.requests).toBe(1);
  });

  it.each(FAULTS)(
    'does not wait long, nor lose the keys that are there, when the issuer %s',
    async (_name, behaviour) => {
      const { issuer, keySet, log } = await load([first], { timeoutMs: 200 });
      const { version } = keySet;
      issuer.behave(behaviour);
      await keySet.seek(headerOf(second));
      expect(hasKey(keySet, first)).toBe(true);
      expect(hasKey(keySet, second)).toBe(false);
      expect(keySet.version).toBe(version);
      expect(log.lines.filter((line) => line.includes('JWT_JWKS_URL'))).toHaveLength(1);
    },
  );
});

describe('from time to time', () => {
  it('new keys come and old ones go', async () => {
    const { issuer, keySet } = await load([first], { refreshMs: 20 });
    keySet.open(() => {});
    issuer.publish(second);
    await until(() => hasKey(keySet, second));
    expect(hasKey(keySet, first)).toBe(false);
  });

  it('an issuer that is down is asked again; its keys keep working, and it is logged once', async () => {
    const { issuer, keySet, log } = await load([first], { refreshMs: 20, retryMs: 20 });
    keySet.open(() => {});
    issuer.behave(answering('down', 503));
    const asked = issuer.requests;
    await until(() => issuer.requests >= asked + 5);
    expect(hasKey(keySet, first)).toBe(true);
    await issuer.goAway();
    const told = () => log.lines.filter((line) => line.includes('JWT_JWKS_URL')).length;
    expect(told()).toBe(1);
    issuer.publish(second);
    await issuer.comeBack();
    await until(() => hasKey(keySet, second));
    expect(told()).toBe(2);
  });

  it('a set that has not changed leaves the version as it is', async () => {
    const { issuer, keySet } = await load([first], { refreshMs: 10 });
    keySet.open(() => {});
    const { version } = keySet;
    await until(() => issuer.requests >= 4);
    expect(keySet.version).toBe(version);
  });

  it('nothing is fetched after the end', async () => {
    const { issuer, keySet } = await load([first], { refreshMs: 10 });
    keySet.open(() => {});
    await until(() => issuer.requests >= 2);
    issuer.behave(never);
    const asked = issuer.requests;
    await until(() => issuer.requests > asked);
    keySet.close();
    expect(keySet.seek(headerOf(second))).toBeUndefined();
    const { keySet: witness, issuer: other } = await load([first], { refreshMs: 10 });
    witness.open(() => {});
    await until(() => other.requests >= 10);
    expect(issuer.requests).toBe(asked + 1);
  });
});
