/** testing-websocket.http: every request in it gets the answer that it states. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseHttpFile, runHttpFile } from './support/http-file';
import { startService, type TestService } from './support/service';

const file = parseHttpFile(readFileSync(join(__dirname, '../testing-websocket.http'), 'utf8'));

describe('testing-websocket.http', () => {
  it('names each request, and states the status of each answer', () => {
    const names = file.requests.map(({ name }) => name);
    expect(names).not.toContain(undefined);
    expect(new Set(names).size).toBe(names.length);
    expect(file.requests.filter(({ expected }) => expected === undefined)).toEqual([]);
  });

  it('has no address and no token outside its variables', () => {
    for (const { target, headers } of file.requests) {
      expect(target).toMatch(/^\{\{baseUrl\}\}\//);
      expect(headers['Authorization'] ?? 'Bearer {{userToken}}').toMatch(/^Bearer (\{\{\w+Token\}\}|not-a-token)$/);
    }
  });

  it('shows refusals: each kind that a caller has to know', () => {
    const statuses = new Set(file.requests.map(({ expected }) => expected));
    expect([...statuses].sort()).toEqual([200, 201, 202, 400, 401, 403, 404, 405, 409, 415, 422]);
  });

  it('gets what it states, and the same again', async () => {
    const service = await startService();
    expect(await differences(service)).toEqual([]);
    expect(await differences(service)).toEqual([]);
  });
});

/** Requests whose answer has another status than the file states. */
async function differences(service: TestService): Promise<string[]> {
  const outcomes = await runHttpFile(file, {
    baseUrl: service.url,
    userToken: service.token('user123'),
    serviceToken: service.token('service', 'send broadcast presence admin'),
  });
  expect(outcomes.length).toBe(file.requests.length);
  return outcomes
    .filter(({ request, status }) => status !== request.expected)
    .map(({ request, status, text }) => `${request.title}: ${status} ${text}`);
}
