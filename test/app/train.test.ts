// The train view as an artist uses it: the built interface in Chromium over `atelier serve`, the real engine and the bundled model.
// Skipped, with the reason, where there is no Chromium ($ATELIER_CHROMIUM, by default /usr/bin/chromium) or no bundled experts.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import axe from 'axe-core';
import { chromium, type Browser, type Locator, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openWindow, serveApp, type ServedApp } from '../support/serve-app.ts';

const executablePath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';
const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const names = ['fox', 'ink'];
const isReady =
  existsSync(executablePath) && names.every((name) => existsSync(join(expertFolder, `${name}.safetensors`)));
if (!isReady)
  console.log(`The train view was skipped: there is no ${executablePath}, or no experts in ${expertFolder}.`);

/** Long enough for some updates on a busy machine. */
const trained = { timeout: 100_000 };

describe.skipIf(!isReady)('the train view', () => {
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
    page = await browser.newPage({ viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce' });
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
  const captions = (): Locator => page.getByRole('textbox', { name: /^Caption of / });

  async function addExperts(): Promise<void> {
    for (const name of names) {
      await page
        .getByRole('textbox', { name: 'Path of a LoRA or gate file' })
        .fill(join(expertFolder, `${name}.safetensors`));
      await page.keyboard.press('Enter');
      await page.getByRole('article', { name, exact: true }).waitFor();
    }
  }

  /** Sends reference pictures with their captions as the file chooser does. */
  async function addPictures(folder: string, count: number): Promise<void> {
    const path = join(expertFolder, 'references', folder);
    const pictures = readdirSync(path)
      .filter((name) => name.endsWith('.png'))
      .slice(0, count);
    const files = pictures.flatMap((name) => [name, name.replace('.png', '.txt')]);
    await page.locator('input[type=file][accept*=".txt"]').setInputFiles(files.map((name) => join(path, name)));
  }

  /** Process ids of the engines of the served app. */
  function engines(): readonly number[] {
    const lines = execFileSync('ps', ['-eo', 'pid,ppid,args'], { encoding: 'utf8' }).split('\n');
    const rows = lines.map((line) => line.trim().split(/\s+/));
    const served = rows.filter((row) => row.includes(app.folder)).map(([pid]) => pid);
    return rows
      .filter(([, parent, ...args]) => served.includes(parent) && args.join(' ').includes('engine.js'))
      .map(([pid]) => Number(pid));
  }

  async function faults(): Promise<readonly string[]> {
    await page.evaluate(axe.source);
    return page.evaluate(async () => {
      const { violations } = await (globalThis as unknown as { readonly axe: typeof axe }).axe.run();
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    });
  }

  it('trains a gate on six pictures through a killed engine and a pause, and draws before and after', async () => {
    await addExperts();
    await button('Train').click();
    await addPictures('fox', 3);
    await addPictures('ink', 3);
    await expect.poll(() => captions().count(), trained).toBe(6);
    expect(await captions().first().inputValue()).toBe('a fox, emojione style');
    await page.getByText(/^400 updates, about .+ each\)$/).waitFor(trained);
    await page.getByText(/^6 pictures at 128 × 128 · \d+ MB of memory, .+ free$/).waitFor();
    await page.getByRole('spinbutton', { name: 'Updates', exact: true }).fill('20');
    await page.getByRole('spinbutton', { name: 'Batch', exact: true }).fill('1');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill('my first gate');
    const before = engines();
    await button('Start training').click();
    await page.getByRole('heading', { name: 'Training: my first gate' }).waitFor();

    await page.getByText(/^Update ([5-9]|1\d) of 20/).waitFor(trained);
    expect(await page.title()).toMatch(/% trained, about \d+ s left/);
    // The one that draws only counted and inspected; killing both harms nothing.
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await page.getByText('What happened on the way').waitFor(trained);
    // Two windows see the same training.
    const other = await openWindow(app);
    expect((await other.request('training', {})).training?.notes.join()).toContain('went on by itself');
    await page.getByText(/^Update ([6-9]|1\d) of 20/).waitFor(trained);
    await button('Pause').click();
    await page.getByRole('heading', { name: 'Paused: my first gate' }).waitFor(trained);
    expect((await other.request('training', {})).training?.state).toBe('paused');
    other.close();
    expect(await button('Start training').isDisabled()).toBe(true);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.getByRole('img', { name: /^Loss\. Loss over \d+ updates/ }).waitFor();
      expect(await faults()).toEqual([]);
    }
    await button('Resume').click();
    await page.getByRole('heading', { name: 'Finished: my first gate' }).waitFor(trained);
    await page.getByText(/^Loss \d\.\d+ → \d\.\d+\.$/).waitFor();
    expect(readdirSync(join(app.folder, 'trained'))).toEqual(['my first gate.mole.safetensors']);

    await button('Use this gate').click();
    await page.getByText('It is on the workbench.').waitFor();
    await button('Draw both').click();
    await page.getByRole('slider', { name: 'Line between A and B' }).waitFor(trained);
    const pictures = page.getByRole('img', { name: /^[AB]: / });
    const sources = await pictures.evaluateAll((images) => images.map((image) => image.getAttribute('src')!));
    const bytes = await page.evaluate(
      (addresses) =>
        Promise.all(addresses.map(async (address) => (await (await fetch(address)).arrayBuffer()).byteLength)),
      sources,
    );
    expect(bytes).toHaveLength(2);
    expect(new Set(sources).size).toBe(2);
    await button('Draw').click();
    await page.getByText('Trained for fox, ink').waitFor();
    await button('Train').click();
    await button('Back to the gate of before').click();
    await button('Draw').click();
    await expect.poll(() => page.getByText('Trained for fox, ink').count()).toBe(0);
  }, 300_000);

  it('says what is missing, what cannot be learnt from, and takes a drop', async () => {
    await button('Train').click();
    await page.getByText('Put at least two experts on the workbench first.').waitFor();
    await page.getByText('New LoRA').click();
    await page.getByText('Add pictures first.').waitFor();
    const transfer = await page.evaluateHandle(
      ([png]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(png!), (c) => c.charCodeAt(0))], 'my cat.png'));
        data.items.add(new File(['no picture'], 'broken.png'));
        return data;
      },
      [readFileSync(join(expertFolder, 'references/fox/noto-fox.png')).toString('base64')],
    );
    for (const type of ['dragenter', 'dragover', 'drop'])
      await page
        .getByRole('region', { name: 'Pictures to learn from' })
        .dispatchEvent(type, { dataTransfer: transfer });
    await page.getByText('broken.png was not added: it is no PNG, JPEG or WebP picture').waitFor();
    await page.getByText('1 picture without a caption').waitFor();
    await page.getByText('Give it a name first.').waitFor();
    await page.getByRole('textbox', { name: 'Caption of my cat' }).fill('a cat');
    await page.getByRole('textbox', { name: 'Trigger word' }).fill('mycat');
    await page.getByText(/^1 picture at 128 × 128/).waitFor(trained);
    await expect
      .poll(() => readFileSync(join(app.folder, '.atelier/training/pictures/my cat.txt'), 'utf8'))
      .toBe('a cat');
    await button('Remove my cat').click();
    await page.getByText('Add pictures first.').waitFor();
  });
});
