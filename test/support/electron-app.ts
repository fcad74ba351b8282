// The desktop app in a real Electron, for tests that use it as an artist does. Electron is the folder in
// ELECTRON_OVERRIDE_DIST_PATH (test/support/install-electron.sh prints one) or the one that is installed; a display is DISPLAY's, or
// an Xvfb of our own.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { _electron, type ElectronApplication, type Page } from 'playwright-core';

export const root = resolve(import.meta.dirname, '../..');

/** The folder of Electron's distribution; undefined when there is none. */
export function electronFolder(): string | undefined {
  const folder = process.env['ELECTRON_OVERRIDE_DIST_PATH'] ?? join(root, 'node_modules/electron/dist');
  return existsSync(join(folder, 'electron')) ? folder : undefined;
}

const hasXvfb = (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'Xvfb')));

/** Why the app cannot be started in a window here; undefined when it can. */
export function whyNoWindow(): string | undefined {
  if (process.platform !== 'linux') return 'these tests know Linux alone.';
  if ((process.env['DISPLAY'] ?? '') === '' && !hasXvfb) return 'there is no display, and no Xvfb to make one.';
  return undefined;
}

export interface Display {
  /** For DISPLAY. */
  readonly name: string;
  readonly close: () => void;
}

/** The display there is, or a virtual one. */
export async function openDisplay(): Promise<Display> {
  const name = process.env['DISPLAY'] ?? '';
  if (name !== '') return { name, close: () => undefined };
  const server = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '1600x1000x24', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const number = await new Promise<string>((found, reject) => {
    server.stdout.setEncoding('utf8').once('data', (text: string) => {
      found(text.trim());
    });
    server.once('error', reject);
    server.once('exit', (code) => {
      reject(new Error(`Xvfb ended with ${String(code)}.`));
    });
  });
  return { name: `:${number}`, close: () => server.kill() };
}

/** A home folder of its own, so that nothing is shared with the machine's user or the next test. */
export interface Home {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly remove: () => void;
}

export function makeHome(display: Display): Home {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-home-'));
  return {
    folder,
    environment: {
      ...(process.env as Record<string, string>),
      DISPLAY: display.name,
      HOME: folder,
      XDG_CONFIG_HOME: join(folder, 'config'),
      XDG_CACHE_HOME: join(folder, 'cache'),
    },
    remove: () => {
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** Containers have neither user namespaces for Chromium's sandbox nor a GPU. */
export const containerFlags = ['--no-sandbox', '--disable-gpu'];

/**
 * Starts the built app. Playwright is left to find the binary through the electron package: only then it holds the app back until it
 * is connected. With an executablePath it attaches to a window in the making, and one launch of ten never answers.
 */
export function launchApp(home: Home): Promise<ElectronApplication> {
  return _electron.launch({ args: [root, ...containerFlags], env: home.environment, timeout: 60_000 });
}

/** Starts the app beside Playwright's, as an artist does who starts it twice. */
export function startBeside(home: Home): ChildProcess {
  return spawn(join(electronFolder()!, 'electron'), [root, ...containerFlags], {
    env: home.environment,
    stdio: 'ignore',
  });
}

/** Process ids of the descendants of `pid` whose command line holds `word`; Linux. */
export function descendants(pid: number, word = ''): readonly number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    // The program's name, in parentheses, may hold anything.
    const [, parent] = /.*\) \S+ (\d+)/s.exec(readText(`/proc/${name}/stat`)) ?? [];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const isBelow = (child: number): boolean => {
    const parent = parents.get(child);
    return parent !== undefined && (parent === pid || isBelow(parent));
  };
  return [...parents.keys()].filter(isBelow).filter((child) => readText(`/proc/${child}/cmdline`).includes(word));
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Process ids of the engines of the app whose main process is `pid`. */
export const engines = (pid: number): readonly number[] => descendants(pid, 'node.mojom.NodeService');

/** Drops files of this machine on the window, as a file manager does. */
export async function dropFiles(page: Page, files: readonly string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [...files], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await session.send('Input.dispatchDragEvent', { type, x: 300, y: 300, data });
  }
  await session.detach();
}
