// The train view as an artist uses it: the built interface in Chromium over `atelier serve`, the real engine and the bundled model.
// Skipped, with the reason, where there is no Chromium ($ATELIER_CHROMIUM, by default /usr/bin/chromium) or no bundled experts.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src-main/formats/safetensors.ts';
import { openWindow, type ServedApp } from '../support/serve-app.ts';
import { hasChromium, useAppPage } from './app-page.ts';

const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const names = ['fox', 'ink'];
const hasExperts = names.every((name) => existsSync(join(expertFolder, `${name}.safetensors`)));
if (!hasExperts) console.log(`The train view was skipped: there are no experts in ${expertFolder}.`);

/** Long enough for some updates on a busy machine. */
const trained = { timeout: 100_000 };

describe.skipIf(!hasChromium('The train view') || !hasExperts)('the train view', () => {
  const ui = useAppPage();
  const { button, addExperts, seriousFaults, dropOn } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(async () => {
    ({ page, app } = ui);
    await page.emulateMedia({ reducedMotion: 'reduce' });
  });

  const captions = (): Locator => page.getByRole('textbox', { name: /^Caption of / });

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

  it('trains a gate on six pictures through a killed engine and a pause, and draws before and after', async () => {
    await addExperts(...names.map((name) => join(expertFolder, `${name}.safetensors`)));
    for (const name of names) await page.getByRole('article', { name, exact: true }).waitFor();
    await button('Train').click();
    await addPictures('fox', 3);
    await addPictures('ink', 3);
    await expect.poll(() => captions().count(), trained).toBe(6);
    expect(await captions().first().inputValue()).toBe('a fox, emojione style');
    await page.getByText(/^400 updates, about .+ each\)$/).waitFor(trained);
    await page.getByText(/^6 pictures at 128 × 128 · \d+ MB of memory, .+ free$/).waitFor();
    await page.getByRole('spinbutton', { name: 'Updates', exact: true }).fill('80');
    await page.getByRole('spinbutton', { name: 'Batch', exact: true }).fill('1');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill('my first gate');
    const before = engines();
    await button('Start training').click();
    await page.getByRole('heading', { name: 'Training: my first gate' }).waitFor();

    await page.getByText(/^Update ([6-9]|[1-6]\d) of 80/).waitFor(trained);
    expect(await page.title()).toMatch(/% trained, about \d+ s left/);
    // The one that draws only counted and inspected; killing both harms nothing.
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await page.getByText('What happened on the way').waitFor(trained);
    // Two windows see the same training.
    const other = await openWindow(app);
    expect((await other.request('training', {})).training?.notes.join()).toContain('went on by itself');
    await page.getByText(/^Update ([7-9]|[1-7]\d) of 80/).waitFor(trained);
    await button('Pause').click();
    await page.getByRole('heading', { name: 'Paused: my first gate' }).waitFor(trained);
    expect((await other.request('training', {})).training?.state).toBe('paused');
    other.close();
    expect(await button('Start training').isDisabled()).toBe(true);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.getByRole('img', { name: /^Loss\. Loss over \d+ updates/ }).waitFor();
      expect(await seriousFaults()).toEqual([]);
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

    // From the list it comes with its experts.
    for (const name of ['fox', 'ink']) await button(`Remove ${name}`).click();
    await button('Train').click();
    await button(/^Use my first gate/).click();
    await button('Draw').click();
    await page.getByText('Trained for fox, ink').waitFor();
    expect(await page.getByRole('article').count()).toBe(2);
  }, 300_000);

  it('teaches a gate on the way of drawing, as many steps and with as much guidance as asked', async () => {
    await addExperts(...names.map((name) => join(expertFolder, `${name}.safetensors`)));
    for (const name of names) await page.getByRole('article', { name, exact: true }).waitFor();
    await button('Train').click();
    await addPictures('fox', 2);
    await page.getByRole('spinbutton', { name: 'Updates', exact: true }).fill('2');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill('drawn');
    await page.getByText('Advanced', { exact: true }).click();
    await page.getByRole('switch', { name: 'Learn on the way of drawing' }).click();
    await page.getByRole('spinbutton', { name: 'Steps of a drawing' }).fill('3');
    await page.getByRole('spinbutton', { name: 'Guidance while learning' }).fill('4');
    await page.getByRole('spinbutton', { name: 'Guidance while learning' }).press('Tab');
    expect(await seriousFaults()).toEqual([]);
    await button('Start training').click();
    await page.getByRole('heading', { name: 'Finished: drawn' }).waitFor(trained);
    const { metadata } = await readSafetensorsHeader(join(app.folder, 'trained/drawn.mole.safetensors'));
    expect(JSON.parse(metadata['training']!)).toMatchObject({ loss: 'denoise', drawing: { steps: 3, cfgScale: 4 } });
  });

  it('says what is missing, what cannot be learnt from, and takes a drop', async () => {
    await button('Train').click();
    await page.getByText('Put at least two experts on the workbench first.').waitFor();
    await page.getByText('New LoRA').click();
    await page.getByText('Add pictures first.').waitFor();
    await dropOn(
      page.getByRole('region', { name: 'Pictures to learn from' }),
      { name: 'my cat.png', bytes: readFileSync(join(expertFolder, 'references/fox/noto-fox.png')) },
      { name: 'broken.png', bytes: Buffer.from('no picture') },
    );
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
