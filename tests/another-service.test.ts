/** docs/guides/another-service.md: programs of other services, on a day when answers are lost. */
import { openClient } from './support/client';
import { openGuide } from './support/guide';
import { type LossyProxy, startLossyProxy } from './support/lossy-proxy';
import { describeWith, findProgram } from './support/needs';

jest.setTimeout(120_000);

const page = 'docs/guides/another-service.md';

it('makes a token', async () => {
  const guide = await openGuide(page);
  await guide.follow('In production');
});

/** One message, although the first answer is lost; and the second answer's Retry-After is respected. */
async function sendsOnce(section: string): Promise<void> {
  let proxy: LossyProxy | undefined;
  const guide = await openGuide(page, {
    async through({ url }) {
      proxy = await startLossyProxy(url);
      return proxy.port;
    },
  });
  await guide.follow('The token', section);
  const times = proxy?.requestedAtMs ?? [];
  expect(times).toHaveLength(3);
  expect((times[2] ?? 0) - (times[1] ?? 0)).toBeGreaterThanOrEqual(990);
  const client = openClient(guide.service.url, { auth: { token: await guide.token('user123') } });
  await client.next('sync:done');
  expect(client.allMessages.map(({ type, from }) => ({ type, from }))).toEqual([{ type: 'invoice', from: 'shop' }]);
}

describe.each([
  ['curl', 'curl'],
  ['Node.js', 'node'],
  ['Python', 'python3'],
  ['Java', 'java'],
])('written in %s', (section, program) => {
  describeWith(program, findProgram(program) !== undefined)(`with ${program}`, () => {
    it('sends once', () => sendsOnce(section));
  });
});

// Only on request: its first run compiles its library for half a minute.
const isGoWanted = process.env['TEST_GO'] === 'true';
if (!isGoWanted) console.warn('SKIPPED: the guide in Go is tested with TEST_GO=true only.');
(isGoWanted ? describeWith('go', findProgram('go') !== undefined) : describe.skip)('written in Go', () => {
  it('sends once', () => sendsOnce('Go'));
});
