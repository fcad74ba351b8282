// `npm start`: the desktop app where Electron's binary and a display are, else the same interface in a browser, with the
// reason said.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** Electron's binary, found as its package finds it but never fetched; undefined when it is not there. */
function electronBinary(): string | undefined {
  try {
    const folder = dirname(createRequire(join(root, 'package.json')).resolve('electron/package.json'));
    const nameFile = join(folder, 'path.txt');
    const name = existsSync(nameFile) ? readFileSync(nameFile, 'utf8').trim() : 'electron';
    const path = join(process.env['ELECTRON_OVERRIDE_DIST_PATH'] ?? join(folder, 'dist'), name);
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Runs a program in this one's place: it gets the signals, and its exit code is ours. */
function become(command: string, args: readonly string[]): void {
  const child = spawn(command, args, { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      // A terminal's Ctrl-C reaches the child by itself.
      if (signal === 'SIGTERM' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    console.error(`${command} could not be started: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code) => {
    process.exitCode = code ?? 1;
  });
}

const { DISPLAY: x11, WAYLAND_DISPLAY: wayland } = process.env;
const hasDisplay = process.platform !== 'linux' || (x11 ?? '') !== '' || (wayland ?? '') !== '';
const electron = electronBinary();

if (electron !== undefined && hasDisplay) {
  become(electron, [root, ...process.argv.slice(2)]);
} else {
  const why =
    electron === undefined
      ? "Electron's binary is not installed (npx install-electron fetches it)"
      : 'There is no display';
  console.error(`${why}, so the app opens in a browser instead.`);
  become(process.execPath, [join(import.meta.dirname, 'atelier.js'), 'serve', ...process.argv.slice(2)]);
}
