/**
 * 128 random bits. `crypto.randomUUID` is missing in pages that are not served over HTTPS, and React Native has no
 * `crypto`. Nothing depends on ids being hard to guess, only on their being unique.
 */
export function newId(): string {
  const bytes = new Uint8Array(16);
  const { crypto } = globalThis as { crypto?: Crypto };
  if (crypto === undefined) for (const index of bytes.keys()) bytes[index] = Math.floor(Math.random() * 256);
  else crypto.getRandomValues(bytes);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
