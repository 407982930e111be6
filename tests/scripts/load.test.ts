/** `npm run load`: what it measures, and what it finds. */
import { generateKeyPairSync } from 'node:crypto';
import { load } from '../../scripts/load';
import { MessageStream } from '../../scripts/support/load/message-stream';
import type { LoadPlan } from '../../scripts/support/load/plan';
import type { Report } from '../../scripts/support/load/report';
import { Tally } from '../../scripts/support/load/tally';
import { freePort } from '../support/process';
import { range, startService, testToken } from '../support/service';
import { runToEnd, type Surroundings, startCommand } from './commands';

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const PUBLIC_KEY_ENV = {
  JWT_SECRET: '',
  JWT_PUBLIC_KEY: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
};

describe('against the service', () => {
  const ARGS = ['--users', '6', '--connections', '9', '--rate', '40', '--broadcast-rate', '5', '--duration', '1s'];

  async function run(url: string, args: readonly string[], around?: Surroundings) {
    const { stdout, ...rest } = await runToEnd(load, ['--url', url, '--json', ...args], around);
    return { ...rest, report: JSON.parse(stdout) as Report };
  }

  it('sends to users and to everyone, and finds all of it on each connection, once and in order', async () => {
    const { url, send } = await startService();
    // What waits for a user, of an earlier run or of others, is no part of it.
    await send('load-1', range(1, 3));
    const { code, report, stderr } = await run(url, ARGS);
    expect(code).toBe(0);
    // Of 40 messages in turn users 1 to 3, with two connections each, get 7, 7 and 7, and the others 7, 6 and 6.
    const expected = 2 * (7 + 7 + 7) + (7 + 6 + 6) + 5 * 9;
    const counts = { sent: 45, accepted: 45, failed: {}, expected, delivered: expected, lost: 0 };
    expect(report).toMatchObject({ ...counts, url, users: 6, connections: 9, isFaultless: true });
    expect(report).toMatchObject({ repeated: 0, disordered: 0, redelivered: 0, brokenConnections: 0, closings: {} });
    for (const { p50, p99, max } of [report.answerMs, report.deliveryMs]) {
      expect(p50).toBeGreaterThan(0);
      expect(p99).toBeGreaterThanOrEqual(p50);
      expect(max).toBeGreaterThanOrEqual(p99 * 0.99);
    }
    expect(stderr).toContain('9/9 connections');
    expect(stderr).toContain('45/45 messages | 9 connected');
  });

  it('explains what the limits of the service refuse, and fails', async () => {
    const { url } = await startService({ env: { RATE_LIMIT_SERVICE_PER_MINUTE: '10' } });
    const { code, stdout } = await runToEnd(load, ['--url', url, ...ARGS]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Sent {9}45 in \d\.\d s, 10 accepted /);
    expect(stdout).toMatch(/^Delivered {4}(\d+) of \1 expected: none lost, none repeated, all in order$/m);
    expect(stdout).toMatch(/^Failed {7}35 \(rate_limited\): .*RATE_LIMIT_SERVICE_PER_MINUTE/m);
    expect(stdout).toMatch(/^This program was busy \d+ % of the time/m);
  });

  it('gets all connections in when the service admits few at a time', async () => {
    const { url } = await startService({ env: { HANDSHAKES_PER_SECOND: '3' } });
    const { code, report } = await run(url, ['--users', '5', '--rate', '5', '--duration', '1']);
    expect({ code, connections: report.connections }).toEqual({ code: 0, connections: 5 });
  });

  it('counts connections that break, and continues until Ctrl-C', async () => {
    const { url, api } = await startService();
    const args = ['--url', url, '--users', '3', '--rate', '20', '--duration', '60s'];
    const loading = startCommand(load, args, { isTTY: true });
    await loading.line(/ [1-9]\d*\/1200 messages \| 3 connected/);
    await api.delete('/users/load-1/data').expect(200);
    await loading.line(/ [2-9]\d\/1200 messages \| 3 connected/);
    loading.interrupt();
    const { stdout } = await loading.finished;
    expect(stdout).toMatch(/^Sent {9}\d\d in /);
    expect(stdout).toMatch(/^Connections {2}3 of 3 users, 1 broken \(going_away 1\)$/m);
  });

  it.each<[string, readonly string[], string, Surroundings?]>([
    ['a token of another secret', [], 'After 0 of 2 connections: The token was refused', { env: { JWT_SECRET: 'x' } }],
    ['a token that may not send', ['--token', testToken('a')], 'The token lacks the scope send: make one'],
  ])('ends at once with %s', async (_name, args, words, around = {}) => {
    const { url } = await startService();
    const { code, stdout, stderr } = await runToEnd(load, ['--url', url, '--users', '2', ...args], around);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(words);
    expect(stderr).not.toContain('eyJ');
  });

  it('ends at once where nothing listens', async () => {
    const port = await freePort();
    const { code, stdout, stderr } = await runToEnd(load, ['--users', '2'], { env: { PORT: String(port) } });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(
      `After 0 of 2 connections: Nothing listens at http://localhost:${port}: start the service`,
    );
  });

  it('shows a bar on a terminal, and leaves the cursor as it was', async () => {
    const { url } = await startService();
    const args = ['--url', url, '--users', '1', '--rate', '10', '--duration', '1s'];
    const { stderr } = await runToEnd(load, args, { isTTY: true });
    expect(stderr).toContain('============ 10/10 messages | 1 connected');
    expect(stderr.lastIndexOf('\u001b[?25h')).toBeGreaterThan(stderr.lastIndexOf('\u001b[?25l'));
  });
});

it.each<[string, readonly string[], string, Surroundings?]>([
  [
    'another machine without --yes',
    ['--url', 'http://10.0.0.1'],
    'http://10.0.0.1 is another machine: confirm with --yes',
  ],
  ['a name that only looks like this machine', ['--url', 'http://127.0.0.1.example.org'], 'is another machine'],
  ['a service that only checks tokens', [], 'JWT_PUBLIC_KEY only verifies tokens', { env: PUBLIC_KEY_ENV }],
  ['no users', ['--users', '0'], '--users must be a whole number from 1 to'],
  ['fewer connections than users', ['--users', '5', '--connections', '4'], '--connections must be a whole number'],
  ['a rate that is none', ['--rate', 'fast'], '--rate must be a whole number from 1 to'],
  ['a duration that is none', ['--duration', '0s'], '--duration must be a time from 1s to 1d.'],
  [
    'more than can be checked',
    ['--rate', '100000', '--duration', '1d'],
    'is too long to check every message at the end',
  ],
])('says what is wrong with %s', async (_name, args, words, around = {}) => {
  const { code, stdout, stderr } = await runToEnd(load, args, around);
  expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining(words) });
});

describe('what has arrived', () => {
  const PLAN: LoadPlan = { users: 2, connections: 3, rate: 4, broadcastRate: 0, seconds: 1 };
  type Position = readonly [connection: number, seq: number, n: number];

  /** A run in which the service has accepted messages 0 to 3; connections 0 and 2 are of the first user. */
  function judge(arrivals: readonly Position[], reconnected: readonly number[] = []) {
    const stream = MessageStream.toUsers(PLAN);
    const tally = new Tally('run', [stream]);
    stream.start(performance.now());
    for (const n of range(0, 3)) tally.noteAccepted(stream, n);
    const positions = [0, 1, 2].map(() => new Map<string, number>());
    arrivals.forEach(([connection, seq, n], index) => {
      if (reconnected.includes(index)) positions[connection] = new Map();
      const data = { run: 'run', kind: 'user', n };
      tally.noteArrival(connection, positions[connection] ?? new Map(), { topic: '@load', seq, data });
    });
    const { delivered, repeated, disordered, redelivered } = tally;
    return { ...tally.count(), delivered, repeated, disordered, redelivered };
  }

  const ALL: readonly Position[] = [
    [0, 1, 0],
    [2, 1, 0],
    [1, 1, 1],
    [0, 2, 2],
    [2, 2, 2],
    [1, 2, 3],
  ];
  const FAULTLESS = { expected: 6, lost: 0, delivered: 6, repeated: 0, disordered: 0, redelivered: 0 };

  it('is complete', () => expect(judge(ALL)).toEqual(FAULTLESS));

  it('lacks what was lost on one of two connections', () => {
    expect(judge(ALL.slice(0, -2))).toEqual({ ...FAULTLESS, lost: 2, delivered: 4 });
  });

  it('has a message twice', () => {
    expect(judge([...ALL, [0, 2, 2]])).toEqual({ ...FAULTLESS, repeated: 1 });
  });

  it('has an older message after a newer one', () => {
    const [first = ALL[0], ...rest] = ALL;
    expect(judge([...rest, first as Position])).toEqual({ ...FAULTLESS, disordered: 1 });
  });

  it('has a message again after a reconnect, as promised', () => {
    expect(judge([...ALL, [0, 2, 2]], [ALL.length])).toEqual({ ...FAULTLESS, redelivered: 1 });
  });
});

it('prints its usage', async () => {
  const { code, stdout } = await runToEnd(load, ['--help']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('npm run load -- [--users N]') });
});
