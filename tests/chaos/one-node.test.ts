/** Faults of a node and its embedded store: see scenarios/one-node.ts. */
import { ONE_NODE } from './scenarios/one-node';
import { testScenarios } from './test-scenarios';

testScenarios(ONE_NODE);
