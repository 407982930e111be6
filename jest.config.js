/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/tests/**/*.test.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/client/dist/', '<rootDir>/playground/'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2023' }, module: { type: 'commonjs' } },
    ],
  },
  // Only to end what hangs: a slow machine must not decide over a test.
  testTimeout: 300_000,
  // Suites wait a third of their time, for disks and for what takes time by itself: three fill two cores. More would
  // only be in each other's way, since suites start real processes and browsers beside them.
  maxWorkers: 3,
  testSequencer: '<rootDir>/tests/support/longest-first.cjs',
};
