// Builds out/ once before the tests, so that process tests fork exactly the files a user runs.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';

/** Vitest global setup: builds the command line and the engine into out/. Throws with the build's own output. */
export function setup(): void {
  if (process.env['ATELIER_SKIP_BUILD'] === '1') return;
  const root = resolve(import.meta.dirname, '../..');
  const binary = resolve(root, 'node_modules/electron-vite/bin/electron-vite.js');
  execFileSync(process.execPath, [binary, 'build', '--logLevel', 'error'], { cwd: root, stdio: 'inherit' });
}
