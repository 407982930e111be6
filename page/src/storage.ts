/** Each tab is a device: it keeps its name, and what the client stores, for as long as the tab exists. */
import { memoryStorage, type StorageAdapter } from '../../client/src/index.ts';

const DEVICE_KEY = 'tidings-device';

/** Memory, if the browser stores nothing for this page: it lasts as long as the page. */
function openStorage(): StorageAdapter {
  try {
    return window.sessionStorage;
  } catch {
    return memoryStorage();
  }
}

const storage = openStorage();

/** The part for one device: under another name, the tab is another device, which has handled nothing. */
export function storageOf(device: string): StorageAdapter {
  return {
    getItem: (key) => storage.getItem(`${device} ${key}`),
    setItem: (key, value) => storage.setItem(`${device} ${key}`, value),
    removeItem: (key) => storage.removeItem(`${device} ${key}`),
  };
}

/** The name survives a reload, and each tab has its own. */
export async function nameDevice(): Promise<string> {
  const kept = (await storage.getItem(DEVICE_KEY)) ?? `tab-${Math.random().toString(36).slice(2, 8)}`;
  await storage.setItem(DEVICE_KEY, kept);
  return kept;
}
