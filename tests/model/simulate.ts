/** Runs of random commands against the model: seeds are printed, failures shrunk, and both can be replayed. */
import fc from 'fast-check';
import { ACTS, type Command } from './acts';
import { finish } from './finish';
import { groupBy } from './group';
import { Scene } from './scene';
import { type Shrunk, shrink } from './shrink';
import { type Engine, World } from './world';

export interface Simulation {
  readonly seed: number;
  readonly steps: number;
  readonly engine: Engine;
  readonly nodes: number;
  /** The position of a failure in fast-check's tree, as it was printed. */
  readonly path?: string | undefined;
  /** The commands to use; all by default. */
  readonly only?: readonly string[] | undefined;
  /** Plays that make a failure smaller, at most. */
  readonly shrinks?: number;
  readonly onRun?: (steps: number) => void;
  /** Called before it is made smaller, which takes a while. */
  readonly onFound?: (violations: readonly string[]) => void;
}

export interface Verdict {
  readonly steps: number;
  readonly runs: number;
  readonly failure: (Shrunk & { readonly path: string }) | undefined;
}

/** Of one run: with the sizes of bursts, some 400 steps. Beginning and ending one costs as much as 50. */
const BURSTS = { minLength: 30, maxLength: 90 };
/** On average. */
const LEAST_STEPS_PER_RUN = 100;
/** Some bursts are one command, most a few, and some many. */
const SIZES = [
  { size: 1, weight: 3 },
  { size: 5, weight: 3 },
  { size: 20, weight: 4 },
] as const;
export const SHRINKS = 150;
/** A world is replaced from time to time: its store grows. */
const RUNS_PER_WORLD = 150;

function commands(only: readonly string[] | undefined): fc.Arbitrary<Command[]> {
  const kinds = Object.entries(ACTS).filter(([kind]) => only?.includes(kind) ?? true);
  const weighted = kinds.map(([kind, { weight }]) => ({ arbitrary: fc.constant(kind), weight }));
  const number = fc.nat({ max: 999 });
  const command = fc.record({ kind: fc.oneof(...weighted), a: number, b: number });
  const bursts = SIZES.map(({ size, weight }) => ({
    arbitrary: fc.array(command, { minLength: 1, maxLength: size, size: 'max' }),
    weight,
  }));
  const all = fc.array(fc.oneof(...bursts), { ...BURSTS, size: 'max' });
  return all.map((list) => list.flatMap((each, burst) => each.map((one) => ({ ...one, burst }))));
}

export async function simulate(simulation: Simulation): Promise<Verdict> {
  const { seed, steps, shrinks = SHRINKS, onRun = () => {}, onFound = () => {} } = simulation;
  const stage = new Stage(simulation);
  let [done, runs] = [0, 0];
  let violations: readonly string[] = [];
  // Requests cost more than frames: not all runs have a polling client.
  const isPolling = fc.nat({ max: 3 }).map((number) => number === 3);
  const property = fc.asyncProperty(commands(simulation.only), isPolling, async (list, isPolling) => {
    // Commands that find nothing to act on are no steps, so the number of runs is not known in advance.
    if (done >= steps) return;
    runs += 1;
    const found = await stage.play(list, isPolling, (steps) => {
      done += steps;
    });
    onRun(done);
    if (found.length === 0) return;
    violations = found;
    onFound(found);
    throw new Error(found.join('\n'));
  });
  const numRuns = Math.ceil(steps / LEAST_STEPS_PER_RUN);
  const where = simulation.path === undefined ? {} : { path: simulation.path };
  try {
    // fast-check's own way replaces single commands one by one: too slow for what takes seconds.
    const { failed, counterexample, counterexamplePath, errorInstance } = await fc.check(property, {
      ...{ seed, numRuns, endOnFailure: true, ...where },
    });
    if (!failed) return { steps: done, runs, failure: undefined };
    // Not the service: the model itself.
    if (violations.length === 0) throw errorInstance;
    const [failing = [], wasPolling = false] = counterexample ?? [];
    const found = { commands: failing, violations };
    const shrunk = shrinks === 0 ? found : await shrink(failing, (fewer) => stage.play(fewer, wasPolling), shrinks);
    return { steps: done, runs, failure: { ...shrunk, path: counterexamplePath ?? '' } };
  } finally {
    await stage.end();
  }
}

/** The world, while it is in order: one in which something has leaked is not used again. */
class Stage {
  #world: World | undefined;
  #runs = 0;

  constructor(private readonly simulation: Simulation) {}

  async play(
    commands: readonly Command[],
    isPolling: boolean,
    onSteps: (steps: number) => void = () => {},
  ): Promise<readonly string[]> {
    this.#runs += 1;
    this.#world ??= await World.start(this.simulation);
    const scene = new Scene(this.#world, `r${this.#runs}`, isPolling);
    await scene.begin();
    for (const burst of groupBy(commands, ({ burst: number }) => number).values()) {
      onSteps(await scene.burst(burst));
      if (scene.history.violations.length > 0) break;
    }
    if (scene.history.violations.length === 0) await finish(scene);
    const { violations } = scene.history;
    if (violations.length > 0 || this.#runs % RUNS_PER_WORLD === 0) await this.#renew(scene);
    return violations;
  }

  async #renew(scene: Scene): Promise<void> {
    scene.calm();
    for (const { link } of scene.attendance.ghosts) link.reset();
    for (const { link } of scene.devices) link?.reset();
    await this.end();
  }

  async end(): Promise<void> {
    const world = this.#world;
    this.#world = undefined;
    await world?.stop();
  }
}
