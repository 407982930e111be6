/** Faults of several nodes: see scenarios/two-nodes.ts. */
import { TWO_NODES } from './scenarios/two-nodes';
import { testScenarios } from './test-scenarios';

testScenarios(TWO_NODES);
