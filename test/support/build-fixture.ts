// Builds TypeScript entries of the tests for Node, the way the product's own entries are built.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'vite';

const root = resolve(import.meta.dirname, '../..');

export interface Fixture {
  /** Absolute path of a built entry. */
  readonly path: (name: string) => string;
  readonly remove: () => void;
}

/**
 * Builds `entries` (name -> path from the repository's root) into a folder of their own outside the repository, with
 * their packages, so that a build at the same time takes nothing away. Takes about half a second.
 */
export async function buildFixture(entries: Readonly<Record<string, string>>): Promise<Fixture> {
  const outDir = mkdtempSync(join(tmpdir(), 'atelier-fixture-'));
  writeFileSync(join(outDir, 'package.json'), '{"type":"module"}');
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    ssr: { noExternal: true },
    build: {
      emptyOutDir: false,
      ssr: true,
      outDir,
      target: 'node20',
      rollupOptions: {
        input: Object.fromEntries(Object.entries(entries).map(([name, path]) => [name, resolve(root, path)])),
        output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js' },
      },
    },
  });
  return {
    path: (name) => resolve(outDir, `${name}.js`),
    remove: () => {
      rmSync(outDir, { recursive: true, force: true });
    },
  };
}

/** The fake engine alone. */
export const buildFakeEngine = (): Promise<Fixture> => buildFixture({ engine: 'test/support/fake-engine.ts' });

/** The real command line beside the fake engine. */
export const buildFakeAtelier = (): Promise<Fixture> =>
  buildFixture({ atelier: 'src-main/cli/atelier.ts', engine: 'test/support/fake-engine.ts' });
