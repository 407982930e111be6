/** REST requests of scenarios to a node. All are expected to be answered. */
import { testToken } from '../support/service';
import type { Place } from './history';
import { type HttpRequest, request } from './http';

const PATIENCE_MS = 10_000;
const TOKEN = testToken('service', { scope: 'send broadcast presence admin' });

/** @throws Error when the answer is not a success. */
export async function ask(url: string, options: HttpRequest = {}): Promise<Record<string, unknown>> {
  const answer = await request(url, { token: TOKEN, timeoutMs: PATIENCE_MS, ...options });
  if (answer === undefined || answer.status >= 300) throw new Error(`${url} answered ${JSON.stringify(answer)}`);
  return answer.body;
}

export async function sendTo(url: string, userId: string, data: unknown = {}): Promise<Place> {
  const body = { userId, type: 'chaos', data };
  return (await ask(`${url}/websocket/message/user`, { method: 'POST', body })) as unknown as Place;
}

/** Sends this many in one batch, in order. */
export async function sendMany(url: string, userId: string, count: number): Promise<Place[]> {
  const messages = Array.from({ length: count }, () => ({ userId, type: 'chaos', data: {} }));
  const { results } = await ask(`${url}/messages/batch`, { method: 'POST', body: { messages } });
  return results as Place[];
}

export async function listedUsers(url: string): Promise<readonly unknown[]> {
  const { users } = await ask(`${url}/websocket/users/connected`);
  return users as readonly unknown[];
}

/** Who has acknowledged a message, by device. */
export async function acknowledgedBy(url: string, id: string): Promise<readonly string[]> {
  const { acknowledged } = await ask(`${url}/messages/${id}/receipts`);
  return (acknowledged as readonly { device: string }[]).map(({ device }) => device);
}

/** The value of a series of /metrics, as it is written there. */
export async function metricOf(url: string, series: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  const line = (await response.text()).split('\n').find((text) => text.startsWith(`${series} `));
  if (line === undefined) throw new Error(`${url}/metrics has no ${series}`);
  return Number(line.slice(series.length + 1));
}
