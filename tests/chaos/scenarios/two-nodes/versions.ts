/** Nodes of two versions serve together, as during an upgrade: F31. */
import { join } from 'node:path';
import type { Findings } from '../../findings';
import type { ChaosNode } from '../../node';
import { Pair, runWithPair } from '../../pair';
import { CONNECT_PATIENCE_MS } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { startNodes } from '../../two-nodes';
import { COMPARED_MS, expectByFrames, untilListed } from './limits';

const NEXT_VERSION = join(__dirname, '../../next-version.cjs');
const NEXT = [undefined, 'version', 'kinds'] as const;
const SENDS = 3;

function envOf(index: number): Record<string, string> {
  const next = NEXT[index];
  return next === undefined ? {} : { CHAOS_NEXT: next, NODE_OPTIONS: `--require=${NEXT_VERSION}` };
}

async function runVersions(): Promise<Outcome> {
  const all = await startNodes({ count: 3, envOf });
  const [here, version, kinds] = all.nodes;
  if (kinds === undefined) throw new Error('three nodes are needed');
  return runWithPair(all, async (pair, findings) => {
    const kin = await Pair.open({ nodes: [here, kinds] }, 'ben');
    const foreign = await sendBothWays(pair, findings);
    const foreignMs = Math.max(...foreign);
    findings.takesAtMost('delivery on a node of another version', foreignMs, COMPARED_MS);
    const kinTimes = await sendBothWays(kin, findings);
    const kinMs = Math.max(...kinTimes);
    expectByFrames(findings, 'deliveries on a node with other kinds', kinTimes);
    await kin.device('carla', 'phone', 1).open(CONNECT_PATIENCE_MS);
    await untilListed(kin, 'carla', 0);
    findings.violations.push(...kin.violations());
    expectOneEntry(findings, here, /"foreign":"version 2"/);
    expectOneEntry(findings, here, /"foreign":"kind online-next"/);
    expectOneEntry(findings, version, /"foreign":"version 1"/);
    return {
      'ms to a node of another version of frames': Math.round(foreignMs),
      'ms to one with other kinds': Math.round(kinMs),
    };
  });
}

/** One after the other. @returns the times until a device of the other node had each. */
async function sendBothWays(pair: Pair, findings: Findings): Promise<number[]> {
  const times: number[] = [];
  for (let send = 0; send < SENDS; send += 1) {
    for (const through of [0, 1] as const) {
      const { status, far } = await pair.say(through);
      findings.expect(status === 200, `a send between versions was answered ${status}`);
      times.push(await far);
    }
  }
  return times;
}

function expectOneEntry(findings: Findings, { name, log }: ChaosNode, pattern: RegExp): void {
  const count = log.filter((line) => pattern.test(line)).length;
  findings.expect(count === 1, `${name} has ${count} entries of its log like ${pattern}, not one`);
}

export const VERSIONS: readonly Scenario[] = [
  {
    id: 'F31',
    fault: 'nodes of two versions run together',
    injected:
      'three nodes: one with the next version of frames, one with fields and a kind that the others do not know',
    expected:
      'what is understood arrives at once, everything else by comparison; presence is repaired; one log line for each kind of frame that is not understood',
    needs: ['mongodb', 'redis'],
    tells: ['ms to a node of another version of frames', 'ms to one with other kinds'],
    run: runVersions,
  },
];
