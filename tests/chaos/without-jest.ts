/** Lets the support of the tests run in a program of its own, which calls runCleanups() itself. Imported first. */
if (!('afterEach' in globalThis)) Object.assign(globalThis, { afterEach: () => {} });
