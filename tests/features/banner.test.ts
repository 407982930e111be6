import { renderBanner } from '../../features/banner';

const makeToken = (userId: string) => `token-of-${userId}`;

it.each([
  ['0.0.0.0', 'http://localhost:8090'],
  ['::', 'http://localhost:8090'],
  ['127.0.0.1', 'http://localhost:8090'],
  ['192.0.2.7', 'http://192.0.2.7:8090'],
  ['::1', 'http://[::1]:8090'],
])('a service at %s is found at %s', (host, url) => {
  const banner = renderBanner({ host, port: 8090 }, { kind: 'development-secret', makeToken });
  expect(banner).toContain(`tidings is listening on ${url}\n`);
  expect(banner).toContain(`curl -X POST ${url}/websocket/notification -H 'Authorization: Bearer token-of-service'`);
});

it.each([
  ['secret' as const, 'npm run token'],
  ['public-key' as const, 'JWT_PUBLIC_KEY: get them from your issuer'],
  ['key-set' as const, 'JWT_JWKS_URL: get them from your issuer'],
])('with a configured %s the banner has no token, and says where they come from', (kind, words) => {
  const banner = renderBanner({ host: '0.0.0.0', port: 8090 }, { kind, makeToken });
  expect(banner).toContain(words);
  expect(banner).not.toContain('token-of-');
  expect(banner).not.toContain('curl');
});
