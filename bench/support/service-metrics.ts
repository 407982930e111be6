import { get } from 'node:http';

/** How long turns of the server's event loop took since the last reading, in milliseconds. */
export interface LoopDelay {
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

/** What a node of the service reports at /metrics. */
export class ServiceMetrics {
  private constructor(private readonly text: string) {}

  static async read(port: number): Promise<ServiceMetrics> {
    return new ServiceMetrics(
      await new Promise<string>((resolve, reject) => {
        const request = get({ host: '127.0.0.1', port, path: '/metrics', agent: false }, (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
        });
        request.on('error', reject);
      }),
    );
  }

  /** @throws Error for a series that does not exist. */
  value(series: string): number {
    const line = this.text.split('\n').find((each) => each.startsWith(`${series} `));
    if (line === undefined) throw new Error(`/metrics has no ${series}`);
    return Number(line.slice(series.length + 1));
  }

  /**
   * Of `perf_hooks.monitorEventLoopDelay` in the server, including the 10 ms between two of its readings. Each reading
   * of /metrics starts again.
   */
  get loopDelay(): LoopDelay {
    const milliseconds = (name: string) => this.value(`nodejs_eventloop_lag_${name}_seconds`) * 1_000;
    return { median: milliseconds('p50'), p99: milliseconds('p99'), max: milliseconds('max') };
  }
}
