/** What anybody may ask for without a token costs the same however many ask. */
import type { Request, Response } from 'express';
import { type HealthParts, healthRoutes } from '../../features/health';
import { startService } from '../support/service';

it.each(['/openapi.json', '/asyncapi.json'])('%s is encoded once, for every address', async (path) => {
  const service = await startService();
  await (await fetch(service.url + path)).json();
  const stringify = jest.spyOn(JSON, 'stringify');
  const address = service.url.replace('127.0.0.1', 'localhost');
  const { servers, info } = (await (await fetch(address + path)).json()) as { servers: unknown; info: unknown };
  const large = stringify.mock.calls.filter(
    ([value]) => typeof value === 'object' && value !== null && 'info' in value,
  );
  stringify.mockRestore();
  expect(large).toEqual([]);
  expect(JSON.stringify(servers)).toContain('localhost');
  expect(info).toBeDefined();
});

it('a scrape is shared by all concurrent requests', async () => {
  let scrapes = 0;
  const scrape = async () => {
    scrapes += 1;
    return 'metrics';
  };
  const metrics = { registry: { contentType: 'text/plain' }, scrape };
  const routes = healthRoutes({ metrics } as unknown as HealthParts);
  const [handler] = routes.find(({ path }) => path === '/metrics')?.handlers ?? [];
  const sent: unknown[] = [];
  const response = { type: () => ({ send: (text: unknown) => sent.push(text) }) } as unknown as Response;
  const ask = () => handler?.({} as Request, response, () => undefined);
  await Promise.all([ask(), ask(), ask()]);
  expect([scrapes, sent]).toEqual([1, ['metrics', 'metrics', 'metrics']]);
  await ask();
  expect(scrapes).toBe(2);
});
