// Bundles one TypeScript file for a child process of a test: Node 20 does not read TypeScript itself.
import { basename, resolve } from 'node:path';
import { build } from 'vite';

/** Path of the bundle of `source`, in node_modules/.cache, where packages are found; they stay external, as in
 * the product's own build. */
export async function buildForNode(source: string): Promise<string> {
  const root = resolve(import.meta.dirname, '../..');
  const name = basename(source, '.ts');
  const outDir = resolve(root, 'node_modules/.cache/atelier-test');
  await build({
    configFile: false,
    root,
    logLevel: 'warn',
    build: {
      ssr: source,
      outDir,
      emptyOutDir: false,
      target: 'node20',
      rollupOptions: { output: { entryFileNames: `${name}.js`, chunkFileNames: `${name}-[hash].js` } },
    },
  });
  return resolve(outDir, `${name}.js`);
}
