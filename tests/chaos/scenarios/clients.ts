/** Faults of clients, and of their networks. */
import type { Scenario } from '../scenario';
import { ACKS } from './clients/acks';
import { CROWDS } from './clients/crowds';
import { GONE } from './clients/gone';
import { JOINING } from './clients/joining';
import { KEY_SET } from './clients/key-set';
import { NETWORK } from './clients/network';
import { TOKENS } from './clients/tokens';
import { WITHHELD } from './clients/withheld';

export const CLIENTS: readonly Scenario[] = [
  ...GONE,
  ...NETWORK,
  ...CROWDS,
  ...ACKS,
  ...WITHHELD,
  ...TOKENS,
  ...KEY_SET,
  ...JOINING,
];
