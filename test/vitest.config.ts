// Two Vitest projects: everything on Node, and the interface's components in a real Chromium, where there is one. Forked workers:
// onnxruntime-node aborts a process whose worker thread is ended mid-run.
import { existsSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';

const executablePath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';
const hasChromium = existsSync(executablePath);
if (!hasChromium) console.log(`The components' tests (test/renderer) were skipped: there is no ${executablePath}.`);

/** Long enough for a machine that does something else meanwhile: a test that hangs is rarer than one that waits. */
const limits = { testTimeout: 120_000, hookTimeout: 180_000 };

export default defineConfig({
  test: {
    root: import.meta.dirname,
    projects: [
      {
        test: {
          name: 'node',
          root: import.meta.dirname,
          include: ['**/*.test.ts'],
          exclude: ['bench/**', 'golden/**', 'renderer/**'],
          pool: 'forks',
          globalSetup: ['support/build-once.ts'],
          ...limits,
        },
      },
      ...(hasChromium
        ? [
            {
              plugins: [svelte({ configFile: false, compilerOptions: { runes: true } })],
              test: {
                name: 'renderer',
                root: import.meta.dirname,
                include: ['renderer/**/*.test.ts'],
                ...limits,
                browser: {
                  enabled: true,
                  headless: true,
                  screenshotFailures: false,
                  provider: playwright({ launchOptions: { executablePath, args: ['--no-sandbox'] } }),
                  instances: [{ browser: 'chromium' as const }],
                },
              },
            },
          ]
        : []),
    ],
  },
});
