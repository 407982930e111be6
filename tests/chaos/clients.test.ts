/** Faults of clients and of their networks: see scenarios/clients.ts. */
import { CLIENTS } from './scenarios/clients';
import { testScenarios } from './test-scenarios';

testScenarios(CLIENTS);
