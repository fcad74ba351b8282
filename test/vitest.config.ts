// One Vitest project on Node. Forked workers: onnxruntime-node aborts a process whose worker thread is ended mid-run.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    exclude: ['bench/**', 'golden/**'],
    pool: 'forks',
    globalSetup: ['support/build-once.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
