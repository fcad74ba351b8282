// `npm start`: the desktop app where Electron's binary and a display are, else the same interface in a browser, with the
// reason said.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** Electron's binary, without asking the package to fetch it; undefined when it is not there. */
function electronBinary(): string | undefined {
  try {
    const folder = dirname(createRequire(join(root, 'package.json')).resolve('electron/package.json'));
    const name = readFileSync(join(folder, 'path.txt'), 'utf8').trim();
    const path = join(process.env['ELECTRON_OVERRIDE_DIST_PATH'] ?? join(folder, 'dist'), name);
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

const { DISPLAY: x11, WAYLAND_DISPLAY: wayland } = process.env;
const hasDisplay = process.platform !== 'linux' || (x11 ?? '') !== '' || (wayland ?? '') !== '';
const electron = electronBinary();

function run(command: string, args: readonly string[]): void {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  process.exitCode = status ?? 1;
}

if (electron !== undefined && hasDisplay) {
  run(electron, [root, ...process.argv.slice(2)]);
} else {
  const why =
    electron === undefined
      ? "Electron's binary is not installed (npx install-electron fetches it)"
      : 'There is no display';
  console.error(`${why}, so the app opens in a browser instead.`);
  run(process.execPath, [join(import.meta.dirname, 'atelier.js'), 'serve', ...process.argv.slice(2)]);
}
