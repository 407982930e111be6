import { SortedNames } from '../../utils/sorted-names';
import { seededRandom } from '../support/random';

const some = (names: SortedNames, after: string | undefined, count: number): string[] => {
  const found: string[] = [];
  for (const name of names.after(after)) {
    if (found.length === count) break;
    found.push(name);
  }
  return found;
};

describe('sorted names', () => {
  it('are those that came and did not go, in order, from wherever one reads', () => {
    const random = seededRandom('sorted names');
    const names = new SortedNames();
    const model = new Set<string>();
    for (let step = 0; step < 20_000; step += 1) {
      const name = `user ${random.integer(1, 4_000)}`;
      const isLeaving = random.integer(1, 3) === 1;
      if (isLeaving) {
        names.delete(name);
        model.delete(name);
      } else {
        names.add(name);
        model.add(name);
      }
      expect(names.size).toBe(model.size);
      if (step % 500 !== 0) continue;
      const sorted = [...model].sort();
      expect([...names.after(undefined)]).toEqual(sorted);
      expect(some(names, name, 10)).toEqual(sorted.filter((one) => one > name).slice(0, 10));
    }
    for (const name of model) names.delete(name);
    expect([...names.after(undefined)]).toEqual([]);
    expect(names.size).toBe(0);
  });

  it('of the beginning and the end are found', () => {
    const names = new SortedNames();
    for (const name of ['m', 'z', 'a', 'm', '__proto__', '']) names.add(name);
    expect([...names.after(undefined)]).toEqual(['', '__proto__', 'a', 'm', 'z']);
    expect([...names.after('zz')]).toEqual([]);
    expect([...names.after('')]).toEqual(['__proto__', 'a', 'm', 'z']);
  });
});
