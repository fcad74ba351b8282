// Builds a TypeScript entry of the tests for Node, the way the product's own entries are built.
import { resolve } from 'node:path';
import { build } from 'vite';

const root = resolve(import.meta.dirname, '../..');

/** Builds test/support/`name`.ts into out/test/`pid`/`name`.js and returns that path. */
export async function buildFixture(name: string): Promise<string> {
  const outDir = resolve(root, 'out/test', String(process.pid));
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    build: {
      ssr: resolve(root, 'test/support', `${name}.ts`),
      outDir,
      emptyOutDir: false,
      target: 'node20',
      rollupOptions: { output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js' } },
    },
  });
  return resolve(outDir, `${name}.js`);
}
