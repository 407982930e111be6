import { renderBanner } from '../../features/banner';

const makeToken = (userId: string) => `token-of-${userId}`;

it.each([
  ['0.0.0.0', 'http://localhost:8090'],
  ['::', 'http://localhost:8090'],
  ['127.0.0.1', 'http://localhost:8090'],
  ['192.0.2.7', 'http://192.0.2.7:8090'],
  ['::1', 'http://[::1]:8090'],
])('a service at %s is found at %s', (host, url) => {
  const banner = renderBanner({ host, port: 8090 }, makeToken);
  expect(banner).toContain(`tidings is listening on ${url}\n`);
  expect(banner).toContain(`curl -X POST ${url}/websocket/notification -H 'Authorization: Bearer token-of-service'`);
});

it('without a secret to sign with, the banner says where tokens come from', () => {
  const banner = renderBanner({ host: '0.0.0.0', port: 8090 }, undefined);
  expect(banner).toContain('get them from your issuer');
  expect(banner).not.toContain('curl');
});
