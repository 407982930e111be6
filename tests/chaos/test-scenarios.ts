/** Makes tests of scenarios: each of their rounds is one. */
import { describeWith } from '../support/needs';
import { seededRandom } from '../support/random';
import { range } from '../support/service';
import { describeNeeds, missingNeeds, type Scenario } from './scenario';

/** Each with a seed of its own: one may miss what the next one finds. `npm run chaos` makes more of them. */
const ROUNDS = 2;

export function testScenarios(scenarios: readonly Scenario[]): void {
  for (const scenario of scenarios) {
    const { id, fault, expected } = scenario;
    describeWith(describeNeeds(scenario), missingNeeds(scenario).length === 0)(`${id}, ${fault}`, () => {
      it.each(range(1, ROUNDS))(`${expected}, round %d`, async (round) => {
        const random = seededRandom(`${id}, round ${round}`);
        const { violations, figures } = await scenario.run(random);
        const { seed } = random;
        expect({ seed, violations, figures }).toEqual({ seed, violations: [], figures });
      });
    });
  }
}
