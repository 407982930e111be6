/** Faults of clients, and of the way to them. */
import type { Scenario } from '../scenario';
import { NETWORK } from './clients/network';

export const CLIENTS: readonly Scenario[] = [...NETWORK];
