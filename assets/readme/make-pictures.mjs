// Draws the pictures of the README with the built program: `npm run pictures`. Each is what a command of the README prints.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const scratch = mkdtempSync(join(tmpdir(), 'atelier-pictures-'));
const demo = (...args) =>
  execFileSync(process.execPath, [join(root, 'out/main/atelier.js'), 'demo', '--out', scratch, ...args], {
    stdio: 'inherit',
  });
try {
  demo();
  copyFileSync(join(scratch, 'experts.png'), join(here, 'experts.png'));
  rmSync(join(scratch, 'sheet.png'));
  demo('--prompts', join(root, 'models/recipe/prompts-32.json'));
  copyFileSync(join(scratch, 'sheet.png'), join(here, 'sheet.png'));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
