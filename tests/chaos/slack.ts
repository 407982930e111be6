/**
 * Tests run side by side, on whatever machine there is: there a limit of time only has to tell what is slow from what
 * does not come at all. `npm run chaos` has the machine to itself, and keeps limits as they are promised.
 */
const SLACK = process.env['JEST_WORKER_ID'] === undefined ? 1 : 5;

/** What a limit of time, in milliseconds, is where this runs. */
export function withSlack(milliseconds: number): number {
  return milliseconds * SLACK;
}
