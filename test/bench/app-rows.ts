// Rows of the app: how soon its window can be used, how smooth it stays while the engine draws, and what the shell weighs, beside a
// bare window of the same Electron (an empty page, nothing else). Where there is no Electron, the same interface in Chromium
// over `atelier serve`, and the rows say so.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EntryType } from 'node:perf_hooks';
import { gzipSync } from 'node:zlib';
import { chromium, type Browser, type Page } from 'playwright-core';
import {
  containerFlags,
  descendants,
  electronFolder,
  engines,
  launchApp,
  makeHome,
  openDisplay,
  whyNoWindow,
  type Display,
  type Home,
} from '../support/electron-app.ts';
import { serveApp } from '../support/serve-app.ts';
import { root } from './programs.ts';
import { median, seconds, type Table } from './report.ts';

const chromiumPath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';
const drawn = { timeout: 120_000 };
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
const milliseconds = (ms: number): string => `${ms.toFixed(0)} ms`;

/** All rows; `rounds` starts of each kind. */
export async function appRows(table: Table, rounds: number): Promise<void> {
  firstLoadRow(table);
  const why = whyNoWindow() ?? (electronFolder() === undefined ? 'there is no Electron' : undefined);
  if (why !== undefined) {
    console.error(`The app is measured in Chromium over serve: ${why}`);
    if (existsSync(chromiumPath)) await browserRows(table);
    return;
  }
  const display = await openDisplay();
  try {
    await startRows(table, display, rounds);
    await drawingRows(table, display);
  } finally {
    display.close();
  }
}

/** Scripts and styles of the first load, as they travel. */
function firstLoadRow(table: Table): void {
  const folder = join(root, 'out/renderer');
  const page = readFileSync(join(folder, 'index.html'), 'utf8');
  const names = [...page.matchAll(/(?:src|href)="\.\/(assets\/[^"]+)"/g)].map(([, name]) => name!);
  const bytes = names.reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name))).length, 0);
  table.row(
    `First load of the interface, gzip`,
    `${(bytes / 1000).toFixed(0)} kB`,
    '',
    undefined,
    '500 kB',
    bytes <= 5e5,
  );
}

interface Started {
  readonly child: ChildProcess;
  readonly browser: Browser;
  readonly page: Page;
  /** Milliseconds from the start of the program to the first frame, and to the frame with the whole page. */
  readonly firstMs: number;
  readonly usableMs: number;
}

/** Starts `app` (a folder or a script) in Electron, from nothing to a page titled `title` that has painted all it will. */
async function startElectron(app: string, title: string, { environment }: Home): Promise<Started> {
  const spawned = Date.now();
  const binary = join(electronFolder()!, 'electron');
  const child = spawn(binary, [app, ...containerFlags, '--remote-debugging-port=0'], {
    env: environment,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const port = await new Promise<string>((resolve, reject) => {
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const [, found] = /^DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//m.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    });
    child.once('exit', () => {
      reject(new Error(`Electron ended: ${said}`));
    });
  });
  // Nobody attaches before the page has settled: looking on would be measured too.
  const titles = async (): Promise<readonly string[]> => {
    const pages = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as { readonly title: string }[];
    return pages.map((page) => page.title);
  };
  while (!(await titles()).includes(title)) await sleep(100);
  await sleep(1000);
  const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
  const page = browser.contexts()[0]!.pages()[0]!;
  const { firstMs, usableMs } = await page.evaluate(async (start) => {
    const [paint] = performance.getEntriesByName('first-contentful-paint');
    const largest = await new Promise<number>((resolve) => {
      new PerformanceObserver((list) => {
        resolve(list.getEntries().at(-1)!.startTime);
      }).observe({ type: 'largest-contentful-paint' as EntryType, buffered: true });
    });
    const origin = performance.timeOrigin - start;
    return { firstMs: origin + paint!.startTime, usableMs: origin + largest };
  }, spawned);
  return { child, browser, page, firstMs, usableMs };
}

async function end({ child, browser }: Started): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await browser.close();
  child.kill('SIGTERM');
  await ended;
}

/** Time to the window, first start and later ones, and to the first picture; the bare window in turn. */
async function startRows(table: Table, display: Display, rounds: number): Promise<void> {
  const [firsts, warms, bares, pictures, weights, bareWeights]: number[][] = [[], [], [], [], [], []];
  const bareApp = makeBareApp();
  for (let round = 0; round < rounds; round++) {
    const home = makeHome(display);
    const first = await startElectron(root, 'MoLE Atelier', home);
    firsts!.push(first.usableMs);
    const clicked = Date.now();
    await drawOnce(first.page);
    pictures!.push(Date.now() - clicked);
    weights!.push(weightOf(first.child.pid!));
    await end(first);
    const warm = await startElectron(root, 'MoLE Atelier', home);
    warms!.push(warm.usableMs);
    await end(warm);
    home.remove();
    const bareHome = makeHome(display);
    const bare = await startElectron(bareApp, 'Bare', bareHome);
    bares!.push(bare.usableMs);
    bareWeights!.push(weightOf(bare.child.pid!));
    await end(bare);
    bareHome.remove();
  }
  rmSync(bareApp, { recursive: true });
  table.versions = 'theirs is a bare window of the same Electron';
  const [first, warm, bare] = [median(firsts!), median(warms!), median(bares!)];
  table.row(
    'Electron: start to a usable window, new profile',
    seconds(first),
    seconds(bare),
    first / bare,
    '2 s',
    first <= 2000,
  );
  table.row('— the next start', seconds(warm), seconds(bare), warm / bare, '2 s', warm <= 2000);
  table.row('— the first click on Generate to the first picture', seconds(median(pictures!)), '', undefined, '');
  const [weight, bareWeight] = [median(weights!), median(bareWeights!)];
  table.row(
    '— memory of the shell (PSS of all but the engine)',
    megabytes(weight),
    megabytes(bareWeight),
    weight / bareWeight,
    '',
  );
}

/** Stalls of both main threads while the engine draws a batch with previews. */
async function drawingRows(table: Table, display: Display): Promise<void> {
  const home = makeHome(display);
  const app = await launchApp(home);
  const page = await app.firstWindow();
  await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
  // The first picture starts the engine; what follows is the work of every day.
  await drawOnce(page);
  await watch(page);
  await app.evaluate(() => {
    // Electron's Node has it; the types of the Node that builds have not.
    const { threadCpuUsage } = process as unknown as { readonly threadCpuUsage: () => NodeJS.CpuUsage };
    const worst = { gapMs: 0, workMs: 0 };
    let [then, used] = [performance.now(), threadCpuUsage()];
    setInterval(() => {
      const [now, uses] = [performance.now(), threadCpuUsage()];
      const workMs = (uses.user + uses.system - used.user - used.system) / 1000;
      if (now - then > worst.gapMs) Object.assign(worst, { gapMs: now - then, workMs });
      [then, used] = [now, uses];
    }, 5);
    (globalThis as { worst?: typeof worst }).worst = worst;
  });
  const start = Date.now();
  for (let i = 0; i < 4; i++) await drawOnce(page);
  const took = Date.now() - start;
  const { gapMs, workMs } = await app.evaluate(
    () => (globalThis as unknown as { readonly worst: { gapMs: number; workMs: number } }).worst,
  );
  const stalls = await stallsOf(page);
  table.row(
    `Four pictures (${seconds(took)}): longest time in which Electron's main thread did not answer`,
    `${milliseconds(gapMs)}, of it ${milliseconds(workMs)} computing`,
    '',
    undefined,
    '50 ms',
    gapMs <= 50,
  );
  stallRow(table, '— of the window', stalls);
  await app.close();
  home.remove();
}

/** The same interface where there is no Electron. */
async function browserRows(table: Table): Promise<void> {
  const spawned = Date.now();
  const served = await serveApp();
  const browser = await chromium.launch({ executablePath: chromiumPath, args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage();
    await page.goto(served.link);
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
    const ready = Date.now() - spawned;
    table.row(
      'Chromium over serve: start of both to a usable page',
      seconds(ready),
      '',
      undefined,
      '2 s',
      ready <= 2000,
    );
    const clicked = Date.now();
    await drawOnce(page);
    table.row('— the first click on Generate to the first picture', seconds(Date.now() - clicked), '', undefined, '');
    await watch(page);
    for (let i = 0; i < 4; i++) await drawOnce(page);
    stallRow(table, '— longest stall of the page while four pictures are drawn', await stallsOf(page));
  } finally {
    await browser.close();
    await served.stop();
  }
}

function stallRow(table: Table, what: string, stalls: readonly number[]): void {
  const longest = Math.max(0, ...stalls);
  const shown = stalls.length === 0 ? 'none over 50 ms' : `${milliseconds(longest)}, ${stalls.length} over 50 ms`;
  table.row(what, shown, '', undefined, '50 ms', stalls.length === 0);
}

/** Draws the example picture and waits until it is shown. */
async function drawOnce(page: Page): Promise<void> {
  const thumbnails = page.getByRole('button', { name: /^Show / });
  const before = await thumbnails.count();
  const example = page.getByRole('button', { name: 'a red apple, noto style', exact: true });
  if (await example.isVisible()) await example.click();
  await page.getByRole('button', { name: 'Generate', exact: true }).click();
  await thumbnails.nth(before).waitFor(drawn);
}

/** Collects the long tasks of the page from now on: what blocks its main thread for over 50 ms. */
async function watch(page: Page): Promise<void> {
  await page.evaluate(() => {
    const stalls: number[] = [];
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) stalls.push(duration);
    }).observe({ type: 'longtask' as EntryType });
    (globalThis as { stalls?: number[] }).stalls = stalls;
  });
}

const stallsOf = (page: Page): Promise<readonly number[]> =>
  page.evaluate(() => (globalThis as unknown as { readonly stalls: readonly number[] }).stalls);

/** Bytes of the process and its descendants but the engines; pages that several share count once. */
function weightOf(pid: number): number {
  const without = new Set(engines(pid));
  return [pid, ...descendants(pid)]
    .filter((one) => !without.has(one))
    .reduce((sum, one) => {
      const path = `/proc/${one}/smaps_rollup`;
      const kilobytes = existsSync(path) ? /^Pss:\s+(\d+) kB$/m.exec(readFileSync(path, 'utf8'))?.[1] : undefined;
      return sum + Number(kilobytes ?? 0) * 1024;
    }, 0);
}

/** An app of one window with one word in it, sandboxed as ours is. */
function makeBareApp(): string {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-bare-'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'bare', main: 'main.js', type: 'module' }));
  writeFileSync(
    join(folder, 'main.js'),
    `import { app, BrowserWindow } from 'electron';
app.whenReady().then(() => {
  const window = new BrowserWindow({ width: 1280, height: 860, show: false, webPreferences: { sandbox: true } });
  window.once('ready-to-show', () => window.show());
  window.loadURL('data:text/html,<title>Bare</title><h1>Bare</h1>');
});
`,
  );
  return folder;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
