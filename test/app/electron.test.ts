// The desktop app as an artist meets it: the built app in a real Electron, the engine in its utilityProcess, the bundled model.
// And what a page in it cannot do. Skipped, with the reason, where there is no Electron or no display.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ElectronApplication, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DevicesReport } from '../../src-main/contract/devices.ts';
import type { FromHost, ToHost, WindowPort } from '../../src-main/contract/window.ts';
import {
  dropFiles,
  electronFolder,
  engines,
  launchApp,
  makeHome,
  openDisplay,
  root,
  startBeside,
  whyNoWindow,
  type Display,
  type Home,
} from '../support/electron-app.ts';

const why =
  whyNoWindow() ??
  (electronFolder() === undefined ? "there is no Electron's binary (npx install-electron)." : undefined);
if (why !== undefined) console.log(`The app in Electron was skipped: ${why}`);

const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
/** Long enough for a picture on a busy machine. */
const drawn = { timeout: 50_000 };

describe.skipIf(why !== undefined)('the app in Electron', () => {
  let display: Display;
  let home: Home;
  let app: ElectronApplication;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    display = await openDisplay();
  });
  afterAll(() => {
    display.close();
  });
  beforeEach(async () => {
    home = makeHome(display);
    await start();
  });
  afterEach(async () => {
    await app.close();
    home.remove();
    expect(complaints).toEqual([]);
  });

  async function start(): Promise<void> {
    app = await launchApp(home);
    page = await app.firstWindow();
    complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
  }

  const button = (name: string): Locator => page.getByRole('button', { name, exact: true });
  const prompt = (): Locator => page.getByRole('textbox', { name: 'Prompt', exact: true });
  const picture = (): Locator =>
    page.getByRole('region', { name: 'Picture' }).getByRole('img', { name: /, seed \d+$/ });
  const pictureFolder = (): Promise<string> =>
    app.evaluate(({ app: electron }) => `${electron.getPath('pictures')}/MoLE Atelier`);
  const files = async (): Promise<readonly string[]> => {
    const folder = await pictureFolder();
    return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.png')) : [];
  };
  const engineOf = (electron: ElectronApplication): number | undefined => engines(electron.process().pid!)[0];

  async function setField(name: string, value: string): Promise<void> {
    await page.getByRole('spinbutton', { name, exact: true }).fill(value);
    await page.keyboard.press('Tab');
  }

  /** Sends the host any message, and returns its answer to `id`; undefined when none comes in `ms`. */
  const say = (message: unknown, id: number, ms = 1000): Promise<FromHost | undefined> =>
    page.evaluate(
      ([sent, wanted, patience]) =>
        new Promise<FromHost | undefined>((resolve) => {
          const { mole } = window as unknown as { readonly mole: WindowPort };
          mole.onMessage((answer) => {
            if (answer.kind !== 'news' && answer.id === wanted) resolve(answer);
          });
          mole.send(sent as ToHost);
          setTimeout(() => {
            resolve(undefined);
          }, patience);
        }),
      [message, id, ms] as const,
    );

  it('leads from the first start to a picture among the pictures', async () => {
    await button('a red apple, noto style').click();
    await button('Generate').click();
    await picture().waitFor(drawn);
    expect(await picture().evaluate((image) => (image as HTMLImageElement).naturalWidth)).toBe(128);
    expect(await files()).toHaveLength(1);
    expect((await files())[0]).toContain('a-red-apple');
  });

  it('takes dropped files where they lie, and says which one is broken', async () => {
    const folder = join(home.folder, 'loras');
    mkdirSync(folder);
    const names = ['fox.safetensors', 'ink.safetensors'];
    for (const name of names) copyFileSync(join(expertFolder, name), join(folder, name));
    writeFileSync(join(folder, 'broken.safetensors'), 'this is no tensor at all');
    await dropFiles(
      page,
      [...names, 'broken.safetensors'].map((name) => join(folder, name)),
    );
    for (const name of ['fox', 'ink']) await page.getByRole('article', { name, exact: true }).waitFor(drawn);
    await expect.poll(() => page.getByRole('alert').textContent()).toContain('broken.safetensors was not added.');
    expect(await page.getByRole('article').count()).toBe(2);
    await prompt().fill('a fox');
    await setField('Steps', '3');
    await button('Generate').click();
    await picture().waitFor(drawn);
  });

  it('cancels within a step and draws on', async () => {
    await prompt().fill('a dog');
    await setField('Steps', '500');
    await button('Generate').click();
    await page.getByText(/^Step \d+ of 500/).waitFor(drawn);
    await button('Cancel').click();
    await page.getByText('Cancelled').waitFor();
    await setField('Steps', '2');
    await button('Generate').click();
    await picture().waitFor(drawn);
  });

  it('finishes a picture whose engine was killed under it', async () => {
    await prompt().fill('a dog');
    await setField('Steps', '30');
    await button('Generate').click();
    await page.getByText(/^Step [3-9] of 30/).waitFor(drawn);
    const first = engineOf(app)!;
    process.kill(first, 'SIGKILL');
    await picture().waitFor(drawn);
    expect(await files()).toHaveLength(1);
    expect(engineOf(app)).not.toBe(first);
  });

  it('opens a page anew that crashed, with the drawing that went on behind it', async () => {
    await prompt().fill('a dog');
    await setField('Steps', '30');
    await button('Generate').click();
    await page.getByText(/^Step \d+ of 30/).waitFor(drawn);
    await app.evaluate(({ BrowserWindow }) => {
      BrowserWindow.getAllWindows()[0]!.webContents.forcefullyCrashRenderer();
    });
    await expect.poll(async () => (await files()).length, drawn).toBe(1);
    // Playwright gives a crashed page up, so it is looked at from the main process.
    const shown = (): Promise<unknown> =>
      app.evaluate(({ BrowserWindow }) =>
        BrowserWindow.getAllWindows()[0]!.webContents.executeJavaScript(
          `[...document.querySelectorAll('img')].some(({ naturalWidth }) => naturalWidth > 0)`,
        ),
      );
    await expect.poll(shown, drawn).toBe(true);
  });

  it('goes on with the drawing of the last time, in the window where it stood', async () => {
    await app.evaluate(({ BrowserWindow }) => {
      BrowserWindow.getAllWindows()[0]!.setBounds({ x: 60, y: 40, width: 1000, height: 700 });
    });
    await prompt().fill('a dog');
    await setField('Steps', '150');
    await button('Generate').click();
    await page.getByText(/^Step \d+ of 150/).waitFor(drawn);
    await app.close();
    await start();
    const bounds = await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]!.getBounds());
    expect(bounds).toMatchObject({ width: 1000, height: 700 });
    await page.getByText(/^Step \d+ of 150/).waitFor(drawn);
  });

  it('started a second time comes to the front instead', async () => {
    await app.evaluate(({ BrowserWindow }) => {
      BrowserWindow.getAllWindows()[0]!.minimize();
    });
    const second = startBeside(home);
    expect(await new Promise((resolve) => second.once('exit', resolve))).toBe(0);
    const windows = () =>
      app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows().map((window) => window.isMinimized()));
    await expect.poll(windows).toEqual([false]);
  });

  it('tells what this machine can compute on, from processes that may crash', async () => {
    const answer = await say({ kind: 'request', id: 7001, method: 'devices', params: { refresh: true } }, 7001, 50_000);
    const { result } = answer as { readonly result: DevicesReport };
    expect(result.providers.find(({ provider }) => provider === 'cpu')).toMatchObject({ state: 'works' });
    expect(result.providers.filter(({ state }) => state === 'crashed' || state === 'timed-out')).toEqual([]);
  });

  describe('a page in it', () => {
    it('has its own address, no Node, and one object of the app', async () => {
      expect(page.url()).toBe('atelier://app/index.html');
      const reach = await page.evaluate(() => {
        const names = globalThis as unknown as Record<string, unknown>;
        return [typeof names['require'], typeof names['process'], typeof names['module'], typeof names['Buffer']];
      });
      expect(new Set(reach)).toEqual(new Set(['undefined']));
      const mole = await page.evaluate(() => Object.keys((window as unknown as { readonly mole: object }).mole));
      expect(mole.sort()).toEqual(['onMessage', 'pathOf', 'send']);
      const preferences = await app.evaluate(({ BrowserWindow }) => {
        const { webContents } = BrowserWindow.getAllWindows()[0]!;
        const { getLastWebPreferences } = webContents as unknown as {
          readonly getLastWebPreferences: (this: unknown) => Record<string, unknown>;
        };
        const { sandbox, contextIsolation, nodeIntegration, webSecurity, webviewTag } =
          getLastWebPreferences.call(webContents);
        return { sandbox, contextIsolation, nodeIntegration, webSecurity, webviewTag };
      });
      expect(preferences).toMatchObject({ sandbox: true, contextIsolation: true, nodeIntegration: false });
      expect(preferences.webSecurity).not.toBe(false);
      expect(preferences.webviewTag).not.toBe(true);
    });

    it('reaches no file beside the interface', async () => {
      const secret = join(home.folder, 'secret.png');
      copyFileSync(join(root, 'assets/icon/sizes/16x16.png'), secret);
      for (const path of ['/../package.json', '/..%2f..%2fpackage.json', '/../main/main.js', encodeURI(secret)]) {
        expect(await page.evaluate((at) => fetch(at).then(({ status }) => status), path), path).toBe(404);
      }
      const blocked = await page.evaluate(
        (at) =>
          fetch(`file://${at}`).then(
            ({ status }) => String(status),
            () => 'refused',
          ),
        secret,
      );
      expect(blocked).toBe('refused');
      complaints = [];
    });

    it('is under a policy that runs no foreign script and asks nobody else', async () => {
      const ran = await page.evaluate(async () => {
        const script = document.createElement('script');
        script.textContent = 'window.broken = true';
        document.body.append(script);
        // What Playwright itself evaluates is excepted from the policy; what comes in a later turn is not.
        await new Promise((resolve) => setTimeout(resolve));
        const isEvalRefused = await new Promise<boolean>((resolve) => {
          const timer = setTimeout(() => {
            resolve(true);
          }, 200);
          document.addEventListener('evaluated', () => {
            clearTimeout(timer);
            resolve(false);
          });
          // A text that is run, as eval runs it.
          // eslint-disable-next-line @typescript-eslint/no-implied-eval
          setTimeout("document.dispatchEvent(new Event('evaluated'))");
        });
        const asked = await fetch('https://example.org/').then(
          () => 'answered',
          () => 'refused',
        );
        const frame = document.createElement('iframe');
        frame.src = 'https://example.org/';
        document.body.append(frame);
        return { inline: 'broken' in window, isEvalRefused, asked };
      });
      expect(ran).toEqual({ inline: false, isEvalRefused: true, asked: 'refused' });
      complaints = [];
    });

    it('goes nowhere else and opens no window', async () => {
      expect(await page.evaluate(() => window.open('https://example.org') === null)).toBe(true);
      await page.evaluate(() => {
        const link = document.createElement('a');
        link.href = 'https://example.org/';
        link.target = '_blank';
        document.body.append(link);
        link.click();
        location.href = 'https://example.org/';
      });
      await page.evaluate(() => {
        location.assign('file:///etc/passwd');
      });
      await page.waitForTimeout(300);
      expect(page.url()).toBe('atelier://app/index.html');
      expect(app.windows()).toHaveLength(1);
      // Playwright's locators wait for the navigation that never comes.
      expect(await page.evaluate(() => document.querySelector('h2') !== null)).toBe(true);
    });

    it('is given no permission but to copy a text', async () => {
      const given = await page.evaluate(async () => {
        const ask = (name: string): Promise<string> =>
          navigator.permissions.query({ name: name as PermissionName }).then(
            ({ state }) => state,
            () => 'unknown',
          );
        const camera = await navigator.mediaDevices.getUserMedia({ video: true, audio: true }).then(
          () => 'given',
          () => 'denied',
        );
        const place = await new Promise<string>((resolve) => {
          navigator.geolocation.getCurrentPosition(
            () => {
              resolve('given');
            },
            () => {
              resolve('denied');
            },
          );
        });
        const read = await navigator.clipboard.readText().then(
          () => 'given',
          () => 'denied',
        );
        return { camera, place, read, notifications: await ask('notifications') };
      });
      expect(given).toEqual({ camera: 'denied', place: 'denied', read: 'denied', notifications: 'denied' });
      await button('Generate').focus();
      const wrote = await page.evaluate(() =>
        navigator.clipboard.writeText('diagnostics').then(
          () => 'given',
          (error: unknown) => String(error),
        ),
      );
      expect(wrote).toBe('given');
    });

    it('is told what is wrong with a message, and a stranger is not answered', async () => {
      expect(await say({ kind: 'request', id: 9001, method: 'shell', params: {} }, 9001)).toMatchObject({
        kind: 'failure',
        failure: { kind: 'bad-request' },
      });
      const elsewhere = { prompt: 'a dog', output: { folder: '/etc' } };
      expect(await say({ kind: 'request', id: 9002, method: 'draw', params: elsewhere }, 9002)).toMatchObject({
        kind: 'failure',
        failure: { kind: 'bad-request' },
      });
      const preload = join(root, 'out/preload/preload.cjs');
      const heard = await app.evaluate(async ({ BrowserWindow }, script) => {
        const options = { show: false, webPreferences: { preload: script, sandbox: true } };
        const stranger = new BrowserWindow(options);
        await stranger.loadURL('data:text/html,<title>stranger</title>');
        const answer: unknown = await stranger.webContents.executeJavaScript(`new Promise((resolve) => {
          mole.onMessage(() => resolve('answered'));
          mole.send({ kind: 'request', id: 1, method: 'open', params: {} });
          setTimeout(() => resolve('silence'), 500);
        })`);
        stranger.destroy();
        return answer;
      }, preload);
      expect(heard).toBe('silence');
    });
  });

  it('leaves no lock and no process behind', async () => {
    const pid = app.process().pid!;
    await prompt().fill('a dog');
    await expect.poll(() => engines(pid).length, drawn).toBeGreaterThan(0);
    const [engine] = engines(pid);
    await app.close();
    expect(existsSync(`/proc/${engine!}`)).toBe(false);
    const state = join(home.folder, 'config/mole-atelier/queue');
    expect(readdirSync(state)).not.toContain('queue.lock');
    expect(readFileSync(join(state, 'queue.json'), 'utf8')).toContain('"version"');
  });
});
