/** Makes tests of scenarios: each of their rounds is one. */
import { describeWith } from '../support/needs';
import { seededRandom } from '../support/random';
import { range } from '../support/service';
import { describeNeeds, missingNeeds, type Scenario } from './scenario';

export function testScenarios(scenarios: readonly Scenario[]): void {
  for (const scenario of scenarios) {
    const { id, fault, expected, rounds } = scenario;
    describeWith(describeNeeds(scenario), missingNeeds(scenario).length === 0)(`${id}, ${fault}`, () => {
      it.each(range(1, rounds))(`${expected}, round %d`, async (round) => {
        const random = seededRandom(`${id}, round ${round}`);
        const { violations, figures } = await scenario.run(random);
        const { seed } = random;
        expect({ seed, violations, figures }).toEqual({ seed, violations: [], figures });
      });
    });
  }
}
