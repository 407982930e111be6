/** Makes tests of scenarios: one round of each, with its own seed. `npm run chaos` makes more of them. */
import { describeWith } from '../support/needs';
import { seededRandom } from '../support/random';
import { describeNeeds, missingNeeds, type Scenario } from './scenario';

export function testScenarios(scenarios: readonly Scenario[]): void {
  for (const scenario of scenarios) {
    const { id, fault, expected } = scenario;
    describeWith(describeNeeds(scenario), missingNeeds(scenario).length === 0)(`${id}, ${fault}`, () => {
      it(expected, async () => {
        const random = seededRandom(id);
        const { violations, figures } = await scenario.run(random);
        const { seed } = random;
        expect({ seed, violations, figures }).toEqual({ seed, violations: [], figures });
      });
    });
  }
}
