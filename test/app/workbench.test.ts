// The workbench as an artist uses it: the built interface in Chromium over `atelier serve`, the real engine and the bundled
// model. Skipped, with the reason, where there is no Chromium ($ATELIER_CHROMIUM, by default /usr/bin/chromium).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import axe from 'axe-core';
import { chromium, type Browser, type Locator, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { serveApp, type ServedApp } from '../support/serve-app.ts';

const executablePath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';
const hasChromium = existsSync(executablePath);
if (!hasChromium) console.log(`The workbench in a browser was skipped: there is no ${executablePath}.`);

const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const bundled = existsSync(expertFolder)
  ? readdirSync(expertFolder).filter((name) => name.endsWith('.safetensors'))
  : [];
/** The ones that “Add the bundled experts” adds: those of the gate for three LoRAs. */
const gateName = 'fox-ink-sketch.mole.safetensors';
const loraNames = basename(gateName, '.mole.safetensors').split('-');
const hasExperts = [gateName, ...loraNames.map((name) => `${name}.safetensors`)].every((name) =>
  bundled.includes(name),
);
if (hasChromium && !hasExperts) console.log(`The experts of the workbench were skipped: ${expertFolder} has none.`);

/** Long enough for a picture on a busy machine. */
const drawn = { timeout: 50_000 };

describe.skipIf(!hasChromium)('the workbench', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser.close();
  });

  let app: ServedApp;
  let page: Page;
  let complaints: string[];
  beforeEach(async () => {
    app = await serveApp();
    page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    await page.goto(app.link);
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
  });
  afterEach(async () => {
    await page.close();
    expect(await app.stop()).toBe(0);
    expect(complaints).toEqual([]);
  });

  const button = (name: string): Locator => page.getByRole('button', { name, exact: true });
  const prompt = (): Locator => page.getByRole('textbox', { name: 'Prompt', exact: true });
  const picture = (): Locator =>
    page.getByRole('region', { name: 'Picture' }).getByRole('img', { name: /, seed \d+$/ });

  async function setField(name: string, value: string): Promise<void> {
    await page.getByRole('spinbutton', { name, exact: true }).fill(value);
    await page.keyboard.press('Tab');
  }

  /** Presses Generate and waits for a picture that was not there before; returns its pixels. */
  async function draw(): Promise<string> {
    const thumbnails = page.getByRole('button', { name: /^Show / });
    const before = await thumbnails.count();
    await button('Generate').click();
    // What the app complains of, if it does, stands in the failure.
    const outcome = async (): Promise<readonly unknown[]> => [
      await thumbnails.count(),
      ...(await page.getByRole('alert').allTextContents()),
    ];
    await expect.poll(outcome, drawn).toEqual([before + 1]);
    return pixelsOf(picture());
  }

  /** The colours of an image, whatever its file says beside them. */
  function pixelsOf(image: Locator): Promise<string> {
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

  /** Drops a file on the window, as a file manager does. */
  async function drop(name: string, bytes: Buffer): Promise<void> {
    const transfer = await page.evaluateHandle(
      ([fileName, base64]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(base64!), (c) => c.charCodeAt(0))], fileName!));
        return data;
      },
      [name, bytes.toString('base64')],
    );
    for (const type of ['dragenter', 'dragover', 'drop'])
      await page.dispatchEvent('body', type, { dataTransfer: transfer });
  }

  it('leads from the first start to a picture in two clicks, with previews on the way', async () => {
    await button('a red apple, noto style').click();
    await page.getByText('7/75').waitFor();
    await button('Generate').click();
    await page.getByRole('img', { name: 'Preview of the drawing under way' }).waitFor(drawn);
    await page.getByText(/^Step \d+ of 20 · about \d+ s left$/).waitFor(drawn);
    expect(await page.title()).toMatch(/^\d+ % · (\d+ s left · )?MoLE Atelier$/);
    await picture().waitFor(drawn);
    expect(await pixelsOf(picture())).toMatch(/^128x128:/);
    expect(await page.title()).toBe('MoLE Atelier');
    const [file] = readdirSync(app.folder).filter((name) => name.endsWith('.png'));
    expect(file).toContain('a-red-apple');
  });

  it('draws the same picture again with the reused seed, and remembers the form and the pictures over a reload', async () => {
    await prompt().fill('a dog');
    await setField('Steps', '3');
    const first = await draw();
    await button('Reuse the seed of the picture shown').click();
    expect(await draw()).toBe(first);
    await page.reload();
    await expect.poll(() => page.getByRole('button', { name: /^Show / }).count()).toBe(2);
    expect(await prompt().inputValue()).toBe('a dog');
    expect(page.url()).not.toContain(app.token);
  });

  it('cancels within a step and draws on', async () => {
    await prompt().fill('a dog');
    // Typed and not yet left: it counts all the same.
    await page.getByRole('spinbutton', { name: 'Steps', exact: true }).fill('500');
    await page.keyboard.press('Control+Enter');
    await page.getByText(/^Step \d+ of 500/).waitFor(drawn);
    await button('Cancel').click();
    await page.getByText('Cancelled').waitFor();
    await setField('Steps', '2');
    await draw();
  });

  it('says what is wrong with a dropped file, and adds nothing', async () => {
    await drop('broken.safetensors', Buffer.from('this is no tensor at all'));
    await expect.poll(() => page.getByRole('alert').textContent()).toContain('broken.safetensors was not added.');
    await button('Dismiss').click();
    await drop('holiday.exe', Buffer.from('MZ'));
    await expect
      .poll(() => page.getByRole('alert').textContent())
      .toContain('holiday.exe is nothing that can be used here');
    expect(await page.getByRole('article').count()).toBe(0);
  });

  it('asks for the link when it is opened without its token', async () => {
    const stranger = await browser.newPage();
    await stranger.goto(`http://127.0.0.1:${app.port}/`);
    await stranger.getByText('This page needs the link').waitFor();
    await stranger.close();
  });

  it.each(['light', 'dark'] as const)('has no serious fault of accessibility in %s colours', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await prompt().fill('a dog');
    await setField('Steps', '2');
    if (hasExperts) {
      await button('Add the bundled experts').click();
      await page.getByText(/^Trained for/).waitFor();
      await button(`Report card of ${loraNames[0]!}`).click();
    }
    await draw();
    await page.evaluate(axe.source);
    const found = await page.evaluate(async () => {
      const { violations } = await (globalThis as unknown as { readonly axe: typeof axe }).axe.run();
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    });
    expect(found).toEqual([]);
  });

  describe.skipIf(!hasExperts)('with experts', () => {
    it('adds a dropped LoRA with what it is, once', async () => {
      const bytes = readFileSync(join(expertFolder, `${loraNames[0]!}.safetensors`));
      await drop('dropped.safetensors', bytes);
      const card = page.getByRole('article', { name: 'dropped' });
      await card.getByText(/rank \d+ · \d+ layers/).waitFor();
      await card.getByRole('button', { name: 'Report card of dropped' }).click();
      await card.getByText('LoRA', { exact: true }).waitFor();
    });

    it('draws as if a muted expert were not there, and as before when it is heard again', async () => {
      for (const name of loraNames.slice(0, 2)) {
        await page
          .getByRole('textbox', { name: 'Path of a LoRA or gate file' })
          .fill(join(expertFolder, `${name}.safetensors`));
        await page.keyboard.press('Enter');
        await page.getByRole('article', { name, exact: true }).waitFor();
      }
      await prompt().fill('a fox');
      await setField('Steps', '4');
      await setField('Seed', '7');
      const speaks = page.getByRole('switch', { name: `${loraNames[1]!} speaks` });
      const both = await draw();
      await speaks.click();
      const muted = await draw();
      expect(muted).not.toBe(both);
      await speaks.click();
      expect(await draw()).toBe(both);
      await button(`Remove ${loraNames[1]!}`).click();
      expect(await draw()).toBe(muted);
    });

    it('shows who spoke where, and silences an expert in one block', async () => {
      await button('Add the bundled experts').click();
      await page.getByText(/^Trained for/).waitFor();
      await prompt().fill('a fox');
      await setField('Steps', '4');
      await setField('Seed', '7');
      const all = await draw();
      const [row] = await page.getByRole('rowheader').allTextContents();
      const cells = page.getByRole('row', { name: row! }).getByRole('button');
      expect(await cells.count()).toBe(loraNames.length);
      const values = (await cells.allTextContents()).map(Number);
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 1);
      await cells.first().click();
      const silenced = await draw();
      expect(silenced).not.toBe(all);
      await button('Let everyone speak').click();
      expect(await draw()).toBe(all);
    });
  });
});
