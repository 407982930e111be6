/** Runs of random commands against the model: seeds are printed, failures shrunk, and both can be replayed. */
import fc from 'fast-check';
import { finish } from './finish';
import { type Command, Scene, WEIGHTS } from './scene';
import { type Shrunk, shrink } from './shrink';
import { type Engine, World } from './world';

export interface Simulation {
  readonly seed: number;
  readonly steps: number;
  readonly engine: Engine;
  readonly nodes: number;
  /** Where in the tree of fast-check a failure is, as it was printed. */
  readonly path?: string | undefined;
  /** The commands that come; all when left out. */
  readonly only?: readonly string[] | undefined;
  readonly onRun?: (steps: number) => void;
  /** Before it is made smaller, which takes a while. */
  readonly onFound?: (violations: readonly string[]) => void;
}

export interface Verdict {
  readonly steps: number;
  readonly runs: number;
  readonly failure: (Shrunk & { readonly path: string }) | undefined;
}

const COMMANDS_PER_RUN = 160;
/** Plays that make a failure smaller, at most. */
const SHRINKS = 150;
/** A world is made anew from time to time: its store grows. */
const RUNS_PER_WORLD = 150;

function commands(only: readonly string[] | undefined): fc.Arbitrary<Command[]> {
  const kinds = Object.entries(WEIGHTS).filter(([kind]) => only?.includes(kind) ?? true);
  const weighted = kinds.map(([kind, weight]) => ({ arbitrary: fc.constant(kind as Command['kind']), weight }));
  const number = fc.nat({ max: 999 });
  const command = fc.record({ kind: fc.oneof(...weighted), a: number, b: number });
  return fc.array(command, { minLength: COMMANDS_PER_RUN / 2, maxLength: COMMANDS_PER_RUN, size: 'max' });
}

export async function simulate(simulation: Simulation): Promise<Verdict> {
  const { seed, steps, onRun = () => {}, onFound = () => {} } = simulation;
  const stage = new Stage(simulation);
  let [done, runs] = [0, 0];
  const property = fc.asyncProperty(commands(simulation.only), async (list) => {
    runs += 1;
    done += list.length;
    onRun(done);
    const found = await stage.play(list);
    if (found.length > 0) onFound(found);
    if (found.length > 0) throw new Error(found.join('\n'));
  });
  const numRuns = Math.ceil(steps / (COMMANDS_PER_RUN * 0.75));
  const where = simulation.path === undefined ? {} : { path: simulation.path };
  try {
    // Its own way of making a failure smaller replaces single commands one by one: too slow for what takes seconds.
    const { failed, counterexample, counterexamplePath } = await fc.check(property, {
      ...{ seed, numRuns, endOnFailure: true, ...where },
    });
    if (!failed) return { steps: done, runs, failure: undefined };
    const [failing = []] = counterexample ?? [];
    const shrunk = await shrink(failing, (fewer) => stage.play(fewer), SHRINKS);
    return { steps: done, runs, failure: { ...shrunk, path: counterexamplePath ?? '' } };
  } finally {
    await stage.end();
  }
}

/** The world as long as it is in order: one that something has leaked in is not used again. */
class Stage {
  #world: World | undefined;
  #runs = 0;

  constructor(private readonly simulation: Simulation) {}

  async play(commands: readonly Command[]): Promise<readonly string[]> {
    this.#runs += 1;
    this.#world ??= await World.start(this.simulation);
    const scene = new Scene(this.#world, `r${this.#runs}`);
    await scene.begin();
    for (const each of commands) {
      await scene.run(each);
      if (scene.history.violations.length > 0) break;
    }
    if (scene.history.violations.length === 0) await finish(scene);
    const { violations } = scene.history;
    if (violations.length > 0 || this.#runs % RUNS_PER_WORLD === 0) await this.#renew(scene);
    return violations;
  }

  async #renew(scene: Scene): Promise<void> {
    scene.calm();
    for (const { link } of scene.ghosts) link.reset();
    for (const { link } of scene.devices) link?.reset();
    await this.end();
  }

  async end(): Promise<void> {
    const world = this.#world;
    this.#world = undefined;
    await world?.stop();
  }
}
