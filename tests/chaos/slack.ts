/**
 * Tests run in parallel, on any machine: there, a time limit only has to distinguish slow from never. `npm run chaos`
 * has the machine to itself, and keeps the promised limits.
 */
const SLACK = process.env['JEST_WORKER_ID'] === undefined ? 1 : 5;

/** The value of a time limit, in milliseconds, here. */
export function withSlack(milliseconds: number): number {
  return milliseconds * SLACK;
}
