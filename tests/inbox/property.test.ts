import { startService } from '../support/service';
import { playInbox } from './play';

const OPERATIONS = 10_000;

it(`${OPERATIONS} random operations leave inbox, counts and devices like those of a model`, () =>
  playInbox({ operations: OPERATIONS, nodes: 1, start: startService }));
