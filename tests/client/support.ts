/** The client package against a service, as an application uses it. */
import { type ClientOptions, connect, memoryStorage, type StorageAdapter, type TidingsClient } from '../../client/src';
import { eventually } from '../support/eventually';
import { onTestEnd } from '../support/temporary';

/** Opens a client that reconnects quickly. Its errors are in `errors`, and it is closed after the test. */
export function openClient<Custom extends object = Record<string, unknown>>(
  url: string,
  options: ClientOptions,
): TidingsClient<Custom> & { readonly errors: string[] } {
  const transport = { reconnectionDelay: 20, reconnectionDelayMax: 50, ...options.transport };
  const client = connect<Custom>(url, { ...options, transport });
  const errors: string[] = [];
  client.on('error', ({ code }) => errors.push(code));
  onTestEnd(() => client.close());
  return Object.assign(client, { errors });
}

/** A storage as a phone or a database gives one: everything takes a turn. */
export function slowStorage(): StorageAdapter {
  const items = memoryStorage();
  const later = async <Value>(work: () => Value): Promise<Awaited<Value>> => {
    await new Promise((resolve) => setImmediate(resolve));
    return await work();
  };
  return {
    getItem: (key) => later(() => items.getItem(key)),
    setItem: (key, value) => later(() => items.setItem(key, value)),
    removeItem: (key) => later(() => items.removeItem(key)),
  };
}

/** Waits until a value that changes by itself is the expected one. */
export async function until<Value>(look: () => Value, isExpected: (value: Value) => boolean): Promise<Value> {
  return eventually(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return look();
  }, isExpected);
}

/** The numbers in the `data` of messages as TestService.send() makes them. */
export function numberIn(data: unknown): number {
  return (data as { n: number }).n;
}
