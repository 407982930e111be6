/** Faults of clients and of the way to them: see scenarios/clients.ts. */
import { CLIENTS } from './scenarios/clients';
import { testScenarios } from './test-scenarios';

testScenarios(CLIENTS);
