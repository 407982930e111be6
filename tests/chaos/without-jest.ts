/** Lets the test support run in a separate program, which calls runCleanups() itself. Imported first. */
for (const hook of ['afterEach', 'afterAll']) {
  if (!(hook in globalThis)) Object.assign(globalThis, { [hook]: () => {} });
}
