/** F29 and F30, each once; `npm run chaos` has them in its rounds. */
import { seededRandom } from '../support/random';
import { runNearHeapLimit, runOutOfDescriptors } from './process-limits';

it.each([
  ['out of file descriptors', runOutOfDescriptors],
  ['with its heap nearly full', runNearHeapLimit],
])('%s it refuses what is new, keeps who is there, and recovers', async (name, scenario) => {
  const { violations, figures } = await scenario(seededRandom(name));
  console.info(JSON.stringify(figures));
  expect(violations).toEqual([]);
});
