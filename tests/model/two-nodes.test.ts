/** The model over each engine, on two nodes, whose frames can be lost. */
import { playOn } from './stages';

playOn(2);
