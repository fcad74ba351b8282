// One Vitest project on Node. Forked workers: onnxruntime-node aborts a process whose worker thread is ended mid-run.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    exclude: ['bench/**', 'golden/**'],
    pool: 'forks',
    globalSetup: ['support/build-once.ts'],
    // Long enough for a machine that does something else meanwhile: a test that hangs is rarer than one that waits.
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
});
