// An afternoon in the desktop app: one real Electron in which a gate is trained, a grid drawn, a picture exported and dropped again.
// The tests go on where the one before left the app. Skipped, with the reason, where there is no Electron or no display.
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ElectronApplication, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import {
  dropFiles,
  electronFolder,
  engines,
  launchApp,
  makeHome,
  openDisplay,
  whyNoWindow,
  type Display,
  type Home,
} from '../support/electron-app.ts';
import { pixelsOf } from './app-page.ts';

const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const names = ['fox', 'ink'];
const why =
  whyNoWindow() ??
  (electronFolder() === undefined ? "there is no Electron's binary (npx install-electron)." : undefined) ??
  (names.every((name) => existsSync(join(expertFolder, `${name}.safetensors`)))
    ? undefined
    : `there are no experts in ${expertFolder}.`);
if (why !== undefined) console.log(`An afternoon in Electron was skipped: ${why}`);

/** Long enough for some updates or pictures on a busy machine. */
const patient = { timeout: 100_000 };

describe.skipIf(why !== undefined)('an afternoon in Electron', { timeout: 240_000 }, () => {
  let display: Display;
  let home: Home;
  let app: ElectronApplication;
  let page: Page;
  let exported: string;
  const complaints: string[] = [];

  beforeAll(async () => {
    display = await openDisplay();
    home = makeHome(display);
    exported = join(home.folder, 'exported');
    mkdirSync(exported);
    app = await launchApp(home);
    page = await app.firstWindow();
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
  }, 90_000);
  afterAll(async () => {
    try {
      await app.close();
    } finally {
      home.remove();
      display.close();
    }
    expect(complaints).toEqual([]);
  });

  const button = (name: string): Locator => page.getByRole('button', { name, exact: true });
  const prompt = (): Locator => page.getByRole('textbox', { name: 'Prompt', exact: true });
  const field = (name: string): Locator => page.getByRole('spinbutton', { name, exact: true });
  const show = (view: string): Promise<void> =>
    page.getByRole('banner').getByRole('button', { name: view, exact: true }).click();

  it('trains a gate on the bundled references through a killed engine', async () => {
    await dropFiles(
      page,
      names.map((name) => join(expertFolder, `${name}.safetensors`)),
    );
    for (const name of names) await page.getByRole('article', { name, exact: true }).waitFor(patient);
    await show('Train');
    await button('Use the bundled references').click();
    await page.getByText(/^\d+ pictures at 128 × 128 · \d+ MB of memory, .+ free$/).waitFor(patient);
    // Long enough that the first updates are still told when a busy window looks.
    await field('Updates').fill('80');
    await field('Batch').fill('1');
    await page.getByRole('textbox', { name: 'Name', exact: true }).fill('afternoon');
    await button('Start training').click();
    await page.getByText(/^Update ([6-9]|[1-6]\d) of 80/).waitFor(patient);
    const killed = engines(app.process().pid!);
    expect(killed).not.toEqual([]);
    // One of them trains; the one that draws has nothing to lose.
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    await page.getByText('What happened on the way').click(patient);
    await page.getByText(/went on by itself/).waitFor();
    await page.getByRole('heading', { name: 'Finished: afternoon' }).waitFor(patient);
    await page.getByText(/^Loss \d\.\d+ → \d\.\d+\.$/).waitFor();
    expect(killed.filter((pid) => engines(app.process().pid!).includes(pid))).toEqual([]);
    const pictures = await app.evaluate(({ app: electron }) => `${electron.getPath('pictures')}/MoLE Atelier`);
    expect(readdirSync(join(pictures, 'trained'))).toEqual(['afternoon.mole.safetensors']);
  });

  it('fills a grid of steps and seeds', async () => {
    await show('Draw');
    await prompt().fill('a fox');
    await show('Compare');
    const main = page.getByRole('main');
    await main.getByRole('button', { name: 'Grid', exact: true }).click();
    for (const [side, axis, values] of [
      ['Columns', 'steps', '2, 3'],
      ['Rows', 'seed', '7, 8'],
    ] as const) {
      await page.getByRole('combobox', { name: side, exact: true }).selectOption(axis);
      await page.getByRole('textbox', { name: `Values of ${side}` }).fill(values);
    }
    await page.getByText('2 × 2 = 4 pictures').waitFor();
    await main.getByRole('button', { name: 'Draw the grid', exact: true }).click();
    const cells = page.getByRole('img', { name: /^Picture: / });
    await expect.poll(() => cells.count(), patient).toBe(4);
    const pixels = await Promise.all([0, 1, 2, 3].map((i) => pixelsOf(cells.nth(i))));
    expect(new Set(pixels).size).toBe(4);
    expect(await page.getByRole('columnheader').allTextContents()).toEqual(['2', '3']);
    expect(await page.getByRole('rowheader').allTextContents()).toEqual(['7', '8']);
  });

  it('exports a picture as WebP into the folder that the system asked for', async () => {
    await app.evaluate(({ dialog }, folder) => {
      dialog.showOpenDialog = () => Promise.resolve({ canceled: false, filePaths: [folder] });
    }, exported);
    await show('Gallery');
    await expect.poll(() => page.getByRole('option').count(), patient).toBe(4);
    await page.getByRole('option').first().click();
    await button('Export…').click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('combobox', { name: 'Format' }).selectOption('webp');
    const recipe = dialog.getByRole('switch', { name: 'With the recipe' });
    if ((await recipe.getAttribute('aria-checked')) !== 'true') await recipe.click();
    await dialog.getByRole('textbox', { name: 'File name' }).fill('[prompt_words]-[seed]');
    await dialog.getByRole('button', { name: 'Choose…', exact: true }).click();
    await expect.poll(() => dialog.getByRole('textbox', { name: 'Folder' }).inputValue()).toBe(exported);
    await dialog.getByRole('button', { name: 'Export', exact: true }).click();
    await page.getByText(`1 picture exported to ${exported}.`).waitFor(patient);
    // The newest, of the grid's last row.
    expect(readdirSync(exported)).toEqual(['a-fox-8.webp']);
    expect(readFileSync(join(exported, 'a-fox-8.webp')).toString('latin1', 8, 12)).toBe('WEBP');
    expect(await readMetadata(join(exported, 'a-fox-8.webp'))).toMatchObject({ kind: 'mole' });
    await page.keyboard.press('Escape');
    await expect.poll(() => dialog.count()).toBe(0);
  });

  it('restores prompt and seed from the exported picture, dropped on the window', async () => {
    await show('Draw');
    await prompt().fill('something else');
    await field('Seed').fill('1');
    await page.keyboard.press('Tab');
    await dropFiles(page, [join(exported, 'a-fox-8.webp')]);
    const dialog = page.getByRole('dialog');
    await dialog.getByText('Drawn with MoLE Atelier').waitFor(patient);
    await dialog.getByRole('button', { name: 'Restore settings' }).click();
    await expect.poll(() => prompt().inputValue(), patient).toBe('a fox');
    expect(await field('Seed').inputValue()).toBe('8');
  });
});
