/** Schemathesis reads /openapi.json and requests everything in it: schemathesis.toml says how, and what is left out. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { captureLog } from './support/captured-log';
import { describeWith } from './support/needs';
import { OpenApi } from './support/openapi';
import { startService, type TestService, testToken } from './support/service';
import { countRefusals } from './support/shared-service';
import { temporaryDirectory } from './support/temporary';

const PROGRAM = process.env['TEST_SCHEMATHESIS'];
const CONFIGURATION = join(__dirname, 'schemathesis.toml');

describeWith('Schemathesis, named by TEST_SCHEMATHESIS', PROGRAM !== undefined)('Schemathesis', () => {
  it('finds no fault of the service, and no answer that is not in the document', async () => {
    const log = captureLog();
    const service = await startService({ overrides: { logger: log.logger } });
    await meetExamples(service);
    const { output, isPassed } = await schemathesis(service.url);
    expect({ isPassed, output }).toEqual({ isPassed: true, output: expect.any(String) });
    const { routes } = await OpenApi.of(service.url);
    // All but the one from which it has the document.
    expect(output).toContain(`Tested: ${routes.length - 1}\n`);
    expect(Number(/(\d+) generated/.exec(output)?.[1])).toBeGreaterThan(1_000);
    expect(await countRefusals(service.url, 'internal')).toBe(0);
    // Otherwise the rest of the run would have been about nothing but a bad token.
    expect(await countRefusals(service.url, 'token_revoked')).toBe(0);
    expect(log.errors()).toEqual([]);
  });
});

/** What the examples of the document name exists: requests get further than `not_found`. */
async function meetExamples({ api }: TestService): Promise<void> {
  await api.post('/topics').send({ name: 'news' }).expect(201);
  const message = { userId: 'user123', type: 'chat', data: { message: 'Hello!' } };
  await api
    .post('/websocket/message/user')
    .send({ ...message, id: 'order-1' })
    .expect(200);
  await api
    .post('/websocket/message/user')
    .send({ ...message, id: 'later', delay: 3_600 })
    .expect(202);
}

async function schemathesis(url: string): Promise<{ output: string; isPassed: boolean }> {
  const token = testToken('service', { scope: 'send broadcast presence admin' });
  const words = ['--config-file', CONFIGURATION, 'run', `${url}/openapi.json`, '-H', `Authorization: Bearer ${token}`];
  // Whatever it writes beside its output goes with the test.
  const options = { cwd: temporaryDirectory(), maxBuffer: 64 * 2 ** 20 };
  try {
    const { stdout } = await promisify(execFile)(PROGRAM ?? '', words, options);
    return { output: stdout, isPassed: true };
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string };
    return { output: stdout + stderr || message, isPassed: false };
  }
}
