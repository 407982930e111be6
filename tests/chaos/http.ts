/** Requests to a node that may be dead, stopped or back again. */

export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export interface HttpRequest {
  readonly method?: 'GET' | 'POST';
  readonly token?: string;
  readonly key?: string;
  readonly body?: object;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 1_500;

/** @returns `undefined` if there was no answer: the request may have been carried out or not. */
export async function request(url: string, options: HttpRequest = {}): Promise<Answer | undefined> {
  const { method = 'GET', token, key, body, timeoutMs = TIMEOUT_MS } = options;
  try {
    const response = await fetch(url, {
      method,
      headers: {
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
        ...(key === undefined ? {} : { 'Idempotency-Key': key }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  } catch {
    // Refused, reset, or no answer in time: the same to the caller.
    return undefined;
  }
}
