// Builds what Node and Electron load into out/: the command line and the engine process.
// Dependencies stay external (onnxruntime-node and sharp carry native code); entries keep their own file.
import { resolve } from 'node:path';
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
      lib: {
        entry: {
          atelier: source('cli/atelier.ts'),
          engine: source('engine/engine-process.ts'),
          probe: source('engine/probe-process.ts'),
        },
        formats: ['es'],
      },
      rollupOptions: { output: { entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js' } },
    },
  },
});
