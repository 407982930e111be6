/**
 * The attackers in a process of their own: what they take of a processor and of an event loop must not show as latency of
 * those beside whom they misbehave, who are measured in the process of the scenario.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { onTestEnd } from '../../support/temporary';

/** Where, and whose inbox is full of large messages. */
export interface Target {
  readonly url: string;
  readonly glutton: string;
}

export class AttackersProcess {
  private constructor(private readonly child: ChildProcess) {}

  /** Compiled and loaded: what that takes of a processor is no attack. */
  static async start(): Promise<AttackersProcess> {
    const child = fork(require.resolve('./main.ts'), { execArgv: ['--import=tsx'] });
    onTestEnd(() => void child.kill('SIGKILL'));
    await once(child, 'message');
    return new AttackersProcess(child);
  }

  begin(target: Target): void {
    this.child.send(target);
  }

  /** Lets them stop. @returns how often each thing was tried. */
  async end(): Promise<Record<string, number>> {
    const told = once(this.child, 'message');
    this.child.send('over');
    const [tries] = (await told) as [Record<string, number>];
    this.child.disconnect();
    return tries;
  }
}
