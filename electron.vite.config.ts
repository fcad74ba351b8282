// Builds what Node and Electron load into out/: the command line, the engine process, the desktop's main process and preload
// script, and the interface in Svelte. Dependencies stay external (onnxruntime-node and sharp carry native code), except for zod;
// entries keep their own file.
import { resolve } from 'node:path';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'electron-vite';

// electron-vite asks the electron package for its version, which the command line does without.
process.env['ELECTRON_MAJOR_VER'] ??= '45';

const source = (path: string): string => resolve(import.meta.dirname, 'src-main', path);

export default defineConfig({
  main: {
    build: {
      outDir: 'out/main',
      target: 'node20',
      sourcemap: true,
      // Hundreds of small files, read at every start: within the bundle they cost a third of the time.
      externalizeDeps: { exclude: ['zod'] },
      lib: {
        entry: {
          main: source('main.ts'),
          start: source('start.ts'),
          atelier: source('cli/atelier.ts'),
          engine: source('engine/engine-process.ts'),
          probe: source('engine/probe-process.ts'),
          history: source('host/history-worker.ts'),
        },
        formats: ['es'],
      },
      rollupOptions: { output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js' } },
    },
  },
  preload: {
    build: {
      outDir: 'out/preload',
      // A sandboxed preload script is one CommonJS file.
      lib: { entry: source('preload.ts'), formats: ['cjs'] },
      rollupOptions: { output: { entryFileNames: '[name].cjs' } },
    },
  },
  renderer: {
    root: 'src-renderer',
    base: './',
    plugins: [svelte({ configFile: false, compilerOptions: { runes: true } })],
    build: {
      outDir: 'out/renderer',
      target: 'chrome120',
      minify: true,
      rollupOptions: { input: resolve(import.meta.dirname, 'src-renderer/index.html') },
    },
  },
});
