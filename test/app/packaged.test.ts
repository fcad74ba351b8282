// The packed app, as it would be installed: what `npm run package -- --dir` made, in $ATELIER_PACKAGED (the program's path). It draws
// with the bundled model, computes in its own processes, and runs nothing but itself. Skipped, with the reason, where it is missing.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DevicesReport } from '../../src-main/contract/devices.ts';
import type { WindowPort } from '../../src-main/contract/window.ts';
import {
  containerFlags,
  engines,
  makeHome,
  openDisplay,
  whyNoWindow,
  type Display,
  type Home,
} from '../support/electron-app.ts';
import { sleep } from '../support/wait.ts';

const program = process.env['ATELIER_PACKAGED'] ?? '';
const why = whyNoWindow() ?? (existsSync(program) ? undefined : 'ATELIER_PACKAGED names no program.');
if (why !== undefined) console.log(`The packed app was skipped: ${why}`);

const drawn = { timeout: 50_000 };

describe.skipIf(why !== undefined)('the packed app', () => {
  const resources = join(dirname(program), 'resources');
  let display: Display;
  let home: Home;
  let app: ChildProcess;
  let said: string;
  let ended: Promise<unknown>;
  let browser: Browser;
  let page: Page;

  beforeEach(async () => {
    display = await openDisplay();
    home = makeHome(display);
    const intruder = join(home.folder, 'intruder.cjs');
    writeFileSync(intruder, `require('node:fs').writeFileSync(${JSON.stringify(join(home.folder, 'intruded'))}, '')`);
    // Three ways to make an Electron run somebody else's program; its fuses close them.
    app = spawn(program, [...containerFlags, '--inspect=0', '--remote-debugging-port=0'], {
      env: { ...home.environment, ELECTRON_RUN_AS_NODE: '1', NODE_OPTIONS: `--require ${intruder}` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    ended = new Promise((resolve) => app.once('exit', resolve));
    const port = await portOf(app);
    await pageIsThere(port);
    browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
    page = browser.contexts()[0]!.pages()[0]!;
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
  });
  afterEach(async () => {
    await browser.close();
    app.kill('SIGTERM');
    await ended;
    home.remove();
    display.close();
  });

  /** The port of Chromium's debugger, which it names on stderr. */
  function portOf(child: ChildProcess): Promise<number> {
    said = '';
    return new Promise((resolve, reject) => {
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const [, found] = /^DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//m.exec(said) ?? [];
        if (found !== undefined) resolve(Number(found));
      });
      void ended.then((code) => {
        reject(new Error(`The app ended with ${String(code)}: ${said.slice(-2000)}`));
      });
    });
  }

  /** Whoever attaches to a window in the making may wait for ever. */
  async function pageIsThere(port: number): Promise<void> {
    for (;;) {
      const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
        readonly type: string;
        readonly title: string;
      }[];
      if (targets.some(({ type, title }) => type === 'page' && title === 'MoLE Atelier')) return;
      await sleep(50);
    }
  }

  it('draws with the bundled model, probes devices in processes of its own, and runs nothing that it is handed', async () => {
    expect(said).not.toContain('Debugger listening');
    expect(existsSync(join(home.folder, 'intruded'))).toBe(false);
    await page.getByRole('button', { name: 'a red apple, noto style', exact: true }).click();
    await page.getByRole('button', { name: 'Generate', exact: true }).click();
    const picture = page.getByRole('region', { name: 'Picture' }).getByRole('img', { name: /, seed \d+$/ });
    await picture.waitFor(drawn);
    expect(await picture.evaluate((image) => (image as HTMLImageElement).naturalWidth)).toBe(128);
    const report = await page.evaluate(
      () =>
        new Promise<DevicesReport>((resolve) => {
          const { mole } = window as unknown as { readonly mole: WindowPort };
          mole.onMessage((message) => {
            if (message.kind === 'result' && message.id === 7001) resolve(message.result as DevicesReport);
          });
          mole.send({ kind: 'request', id: 7001, method: 'devices', params: { refresh: true } });
        }),
    );
    expect(report.providers.find(({ provider }) => provider === 'cpu')).toMatchObject({ state: 'works' });
    expect(report.providers.filter(({ state }) => state === 'crashed')).toEqual([]);
    // Probes have ended: what remains is the engine that draws and, until it rests, the one that reads files.
    await expect.poll(() => engines(app.pid!).length, drawn).toBeLessThanOrEqual(2);
    expect(engines(app.pid!)).not.toEqual([]);
    await page.getByRole('button', { name: 'Add the bundled experts' }).click();
    await page.getByRole('article', { name: 'fox', exact: true }).waitFor(drawn);
  });

  it('holds the natives of this machine alone, and the models as files', () => {
    const runtimes = join(resources, 'app.asar.unpacked/node_modules/onnxruntime-node/bin/napi-v6');
    expect(readdirSync(runtimes)).toEqual([process.platform]);
    expect(readdirSync(join(runtimes, process.platform))).toEqual([process.arch]);
    expect(existsSync(join(resources, 'models/atelier-mini/unet/diffusion_pytorch_model.safetensors'))).toBe(true);
    expect(existsSync(join(resources, 'assets/experts/fox.safetensors'))).toBe(true);
    expect(readdirSync(resources)).not.toContain('app');
  });
});
