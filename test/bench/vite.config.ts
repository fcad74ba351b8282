// Builds the benchmarks into out/bench: they measure library functions in processes of their own, as they ship.
import { resolve } from 'node:path';
import { defineConfig } from 'vite';

const here = import.meta.dirname;

export default defineConfig({
  build: {
    ssr: true,
    target: 'node20',
    outDir: resolve(here, '../../out/bench'),
    emptyOutDir: true,
    rollupOptions: {
      input: {
        run: resolve(here, 'run.ts'),
        measure: resolve(here, 'measure.ts'),
        'measure-experts': resolve(here, 'measure-experts.ts'),
        'measure-gradient': resolve(here, 'measure-gradient.ts'),
        compose: resolve(here, 'compose/run.ts'),
        search: resolve(here, 'compose/search-lane.ts'),
      },
      output: { entryFileNames: '[name].js', chunkFileNames: '[name].js' },
    },
  },
});
