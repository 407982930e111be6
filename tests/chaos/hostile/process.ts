/**
 * The attackers in a separate process: their use of the CPU and of an event loop must not show as latency of their
 * victims, who are measured in the scenario's process.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { onTestEnd } from '../../support/temporary';

/** The address, and the user whose inbox is full of large messages. */
export interface Target {
  readonly url: string;
  readonly glutton: string;
}

export class AttackersProcess {
  private constructor(private readonly child: ChildProcess) {}

  /** Compiled and loaded: the CPU for that is no attack. */
  static async start(): Promise<AttackersProcess> {
    const child = fork(require.resolve('./main.ts'), { execArgv: ['--import=tsx'] });
    onTestEnd(() => void child.kill('SIGKILL'));
    await once(child, 'message');
    return new AttackersProcess(child);
  }

  begin(target: Target): void {
    this.child.send(target);
  }

  /** Stops them. @returns how often each thing was tried. */
  async end(): Promise<Record<string, number>> {
    const told = once(this.child, 'message');
    this.child.send('over');
    const [tries] = (await told) as [Record<string, number>];
    this.child.disconnect();
    return tries;
  }
}
