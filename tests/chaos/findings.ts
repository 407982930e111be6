/** Findings of a scenario that is no round: sentences, like those of the checker of histories. */
import type { ChaosNode } from './node';
import type { Figures, Outcome } from './scenario';
import { withSlack } from './slack';

export class Findings {
  readonly violations: string[] = [];

  /** `sentence` says what is wrong if the condition does not hold. */
  expect(isSo: boolean, sentence: string): void {
    if (!isSo) this.violations.push(sentence);
  }

  /** Two lists, or anything else that JSON can compare. */
  expectSame(actual: unknown, expected: unknown, sentence: string): void {
    const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
    this.expect(is === should, `${sentence}: ${shorten(is)}, expected ${shorten(should)}`);
  }

  takesAtMost(what: string, milliseconds: number, limitMs: number): void {
    const isIn = milliseconds <= withSlack(limitMs);
    this.expect(isIn, `${what} took ${Math.round(milliseconds)} ms, more than ${limitMs}`);
  }

  /** A fault that did not happen proves nothing. */
  wasTried(isSo: boolean, what: string): void {
    this.expect(isSo, `nothing was tried: ${what}`);
  }
}

const MAX_LENGTH = 300;

function shorten(text = 'nothing'): string {
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
}

/** Examines these nodes. Whatever ends the examination early is a finding as well. */
export async function examine(
  nodes: readonly ChaosNode[],
  work: (findings: Findings) => Promise<Figures>,
): Promise<Outcome> {
  const findings = new Findings();
  let figures: Figures = {};
  try {
    figures = await work(findings);
  } catch (error) {
    findings.violations.push(error instanceof Error ? error.message : String(error));
  }
  const ends = await Promise.all(nodes.map((node) => node.conclude()));
  return {
    violations: [...findings.violations, ...ends.flat()],
    figures,
    evidence: Object.fromEntries(nodes.map((node) => [node.name, node.log])),
  };
}
