/** Lets the support of the tests run in a program of its own, which calls runCleanups() itself. Imported first. */
for (const hook of ['afterEach', 'afterAll']) {
  if (!(hook in globalThis)) Object.assign(globalThis, { [hook]: () => {} });
}
