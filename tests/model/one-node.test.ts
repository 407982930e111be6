/** The model over each engine, on one node. `npm run simulate` plays more, and makes a failure smaller. */
import { playOn } from './stages';

playOn(1);
