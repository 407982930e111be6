/** Uncaught errors. Jest would attribute them to the whole file; here they belong to a test. */
import { onTestEnd } from './temporary';

/** From now to the end of the test: each entry of the list would have ended the process of a service. */
export function collectUncaught(): readonly string[] {
  const uncaught: string[] = [];
  process.setUncaughtExceptionCaptureCallback((error) => uncaught.push(String(error)));
  onTestEnd(() => process.setUncaughtExceptionCaptureCallback(null));
  return uncaught;
}
