import { startService } from '../support/service';
import { OPERATIONS, playInbox } from './play';

it(`${OPERATIONS} random operations leave inbox, counts and devices like those of a model`, () =>
  playInbox({ nodes: 1, start: startService }));
