/** The model over each engine, on two nodes, which tell each other what can get lost. */
import { playOn } from './stages';

playOn(2);
