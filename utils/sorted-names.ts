/**
 * Distinct names, kept in order as they come and go: nobody sorts all of them to read a part. They are in chunks, so
 * that an insertion moves few others.
 */
const MAX_CHUNK_NAMES = 512;

export class SortedNames {
  /** None is empty, and each name of a chunk is before all names of the next. */
  readonly #chunks: string[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(name: string): void {
    const index = this.#chunkFor(name);
    const chunk = this.#chunks[index];
    if (chunk === undefined) {
      this.#chunks.push([name]);
      this.#size += 1;
      return;
    }
    const at = firstNotBefore(chunk, name);
    if (chunk[at] === name) return;
    chunk.splice(at, 0, name);
    this.#size += 1;
    if (chunk.length > MAX_CHUNK_NAMES) this.#chunks.splice(index + 1, 0, chunk.splice(MAX_CHUNK_NAMES / 2));
  }

  delete(name: string): void {
    const index = this.#chunkFor(name);
    const chunk = this.#chunks[index];
    const at = chunk === undefined ? 0 : firstNotBefore(chunk, name);
    if (chunk?.[at] !== name) return;
    chunk.splice(at, 1);
    this.#size -= 1;
    if (chunk.length === 0) this.#chunks.splice(index, 1);
  }

  /** Names in order, after one of them. */
  *after(name: string | undefined): Generator<string> {
    const first = name === undefined ? 0 : this.#chunkFor(name);
    for (let index = first; index < this.#chunks.length; index += 1) {
      for (const one of this.#chunks[index] ?? []) if (name === undefined || one > name) yield one;
    }
  }

  /** The last chunk that does not begin after a name. */
  #chunkFor(name: string): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#chunks[middle]?.[0] ?? '') <= name) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function firstNotBefore(names: readonly string[], name: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((names[middle] ?? '') < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
