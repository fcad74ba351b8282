// The built interface in Chromium over `atelier serve`, for tests that use it as an artist does: one browser for a group of tests,
// a served app and a page for each of them, and the hands that most of them need. A test during which a page complained fails.
import { existsSync } from 'node:fs';
import axe from 'axe-core';
import { chromium, type Browser, type Locator, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { serveApp, type ServedApp } from '../support/serve-app.ts';

/** $ATELIER_CHROMIUM, by default /usr/bin/chromium. */
const executablePath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';

/** Whether there is a Chromium; prints that `what` was skipped where there is none. */
export function hasChromium(what: string): boolean {
  const found = existsSync(executablePath);
  if (!found) console.log(`${what} in a browser: skipped, there is no ${executablePath}.`);
  return found;
}

/** Long enough for some small pictures on a busy machine. */
export const patient = { timeout: 60_000 };

export interface DroppedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** MIME type; none by default. */
  readonly type?: string;
}

export interface AppPage {
  /** Of the test that runs; a new one for each. */
  readonly page: Page;
  readonly app: ServedApp;
  /** Serves an app, into whose folder `prepare` puts what is to be there, and shows its workbench. */
  readonly open: (prepare?: (folder: string) => Promise<void>) => Promise<ServedApp>;
  /** By its whole name, or a pattern of it. */
  readonly button: (name: string | RegExp) => Locator;
  readonly prompt: () => Locator;
  readonly field: (name: string) => Locator;
  /** Types a number and leaves the field. */
  readonly setField: (name: string, value: string) => Promise<void>;
  /** Adds LoRAs and gates by the paths of their files, one after another. */
  readonly addExperts: (...paths: readonly string[]) => Promise<void>;
  /** The pictures of the strip under the workbench. */
  readonly thumbnails: () => Locator;
  /** The picture on the workbench. */
  readonly picture: () => Locator;
  /** Presses Generate and waits for a picture that was not there before; returns its pixels. */
  readonly draw: () => Promise<string>;
  /** What the app complains of at this moment. */
  readonly alerts: () => Promise<readonly string[]>;
  /** Drops files together on the window, as a file manager does. */
  readonly drop: (...files: readonly DroppedFile[]) => Promise<void>;
  readonly dropOn: (target: Locator, ...files: readonly DroppedFile[]) => Promise<void>;
  /** What axe calls serious or critical, one line for each rule. */
  readonly seriousFaults: () => Promise<readonly string[]>;
}

/**
 * Registers the set-up of every test of the group that calls it. `opensAtOnce: false` leaves `open` to the test, which prepares
 * the app's folder first.
 */
export function useAppPage({ opensAtOnce = true }: { readonly opensAtOnce?: boolean } = {}): AppPage {
  let browser: Browser;
  let page: Page;
  let app: ServedApp | undefined;
  let complaints: string[];
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser.close();
  });
  beforeEach(async () => {
    app = undefined;
    page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('dialog', (dialog) => {
      complaints.push(`A script of a stranger ran: ${dialog.message()}`);
      void dialog.dismiss();
    });
    if (opensAtOnce) await open();
  });
  afterEach(async () => {
    await page.close();
    if (app !== undefined) expect(await app.stop()).toBe(0);
    expect(complaints).toEqual([]);
  });

  async function open(prepare?: (folder: string) => Promise<void>): Promise<ServedApp> {
    app = await serveApp([], prepare);
    await page.goto(app.link);
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
    return app;
  }

  const button = (name: string | RegExp): Locator =>
    page.getByRole('button', { name, ...(typeof name === 'string' ? { exact: true } : {}) });
  const field = (name: string): Locator => page.getByRole('spinbutton', { name, exact: true });
  const thumbnails = (): Locator => page.getByRole('button', { name: /^Show / });
  const picture = (): Locator =>
    page.getByRole('region', { name: 'Picture' }).getByRole('img', { name: /, seed \d+$/ });
  const alerts = (): Promise<readonly string[]> => page.getByRole('alert').allTextContents();

  return {
    get page() {
      return page;
    },
    get app() {
      if (app === undefined) throw new Error('No app is served yet: call open() first.');
      return app;
    },
    open,
    button,
    prompt: () => page.getByRole('textbox', { name: 'Prompt', exact: true }),
    field,
    setField: async (name, value) => {
      await field(name).fill(value);
      await page.keyboard.press('Tab');
    },
    addExperts: async (...paths) => {
      for (const path of paths) {
        await page.getByRole('textbox', { name: 'Path of a LoRA or gate file' }).fill(path);
        await page.keyboard.press('Enter');
      }
    },
    thumbnails,
    picture,
    draw: async () => {
      const before = await thumbnails().count();
      await button('Generate').click();
      // What the app complains of, if it does, stands in the failure.
      const outcome = async (): Promise<readonly unknown[]> => [await thumbnails().count(), ...(await alerts())];
      await expect.poll(outcome, patient).toEqual([before + 1]);
      return pixelsOf(picture());
    },
    alerts,
    drop: (...files) => dropFiles(page.locator('body'), files),
    dropOn: (target, ...files) => dropFiles(target, files),
    seriousFaults: async () => {
      await page.evaluate(axe.source);
      return page.evaluate(async () => {
        const { violations } = await (globalThis as unknown as { readonly axe: typeof axe }).axe.run();
        return violations
          .filter(({ impact }) => impact === 'serious' || impact === 'critical')
          .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      });
    },
  };
}

/** The colours of an image, whatever its file says beside them: its size, a colon, and RGBA values between commas. */
export function pixelsOf(image: Locator): Promise<string> {
  return image.evaluate(async (element) => {
    const source = element as HTMLImageElement;
    await source.decode();
    const canvas = new OffscreenCanvas(source.naturalWidth, source.naturalHeight);
    const context = canvas.getContext('2d')!;
    context.drawImage(source, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return `${canvas.width}x${canvas.height}:${data.join()}`;
  });
}

async function dropFiles(target: Locator, files: readonly DroppedFile[]): Promise<void> {
  const sent = files.map(({ name, bytes, type }) => ({
    name,
    type: type ?? '',
    base64: Buffer.from(bytes).toString('base64'),
  }));
  const dataTransfer = await target.page().evaluateHandle((all) => {
    const data = new DataTransfer();
    for (const { name, type, base64 } of all) {
      data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type }));
    }
    return data;
  }, sent);
  for (const kind of ['dragenter', 'dragover', 'drop']) await target.dispatchEvent(kind, { dataTransfer });
}
